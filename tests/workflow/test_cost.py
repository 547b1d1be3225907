"""What a configuration costs is said before it starts, and it is what the run then takes."""

import os
import re

import pytest
import yaml

import forked_python
from dnatune.cost import disk, jobs
from dnatune.cost.model_sizes import sizes_of
from dnatune.cost.training_time import all_training
from dnatune.settings import experiment, site
from workflow_runs import ROOT, Finished, Workplace, run, small, wait_for

COMPLETED = "tiny/prom_core_all/adamw/seed3"
ONE_RUN = small(optimizers={"wild": None})


def cost(workplace: Workplace, configuration: dict | None = None, *arguments: str) -> Finished:
    """Return what `dnatune cost` says of a configuration; without one, of those that the arguments name."""
    if configuration is not None:
        written = workplace.folder / "cost.yaml"
        written.write_text(yaml.safe_dump(configuration, sort_keys=False), "utf-8")
        arguments = ("--configfile", str(written), *arguments)
    environment = {"DNATUNE_SITE": str(workplace.site)}
    return run(forked_python.stage("cost", *arguments), workplace.folder, environment)


def said_jobs(output: str) -> dict[str, int]:
    """Return the table of jobs that the command prints."""
    rows = output.split("jobs to do\n", 1)[1].split("training, the whole grid", 1)[0].splitlines()
    found = (re.fullmatch(r"(\w+) +([\d\N{NARROW NO-BREAK SPACE}]+)", row.strip()) for row in rows)
    return {row[1]: int(row[2].replace("\N{NARROW NO-BREAK SPACE}", "")) for row in found if row}


def snakemakes_jobs(workplace: Workplace, configuration) -> dict[str, int]:
    return jobs.read_counts(workplace.complete(configuration, "--dry-run", "--quiet", "rules").output)


def site_of(workplace: Workplace) -> site.Site:
    return site.load(ROOT, {**os.environ, "DNATUNE_SITE": str(workplace.site)})


def test_the_jobs_of_the_demo_are_those_of_snakemake(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    workplace, demo = Workplace(tmp_path), ROOT / "config" / "demo.yaml"
    done = cost(workplace, None, "--configfile", str(demo))
    assert done.code == 0, done.output
    assert said_jobs(done.output) == snakemakes_jobs(workplace, demo)
    assert "12 runs (1 model × 1 task × 4 optimizers × 3 seeds); 25 jobs to do" in done.output
    assert "no rate known" in done.output
    assert not (tmp_path / "results").exists()


def test_the_jobs_of_a_grid_are_those_of_snakemake(tmp_path):
    grid = small(
        tasks=["prom_core_all", "prom_core_tata", "prom_300_all"],
        seeds=[0, 1],
        tuning={"rates": {"adamw": {"from": 1e-3, "to": 1e-1}, "wild": {"from": 1e-3, "to": 1e-1}}, "trials": 3},
        optimizers={"adamw": {"learning_rate": None}, "wild": {"learning_rate": None}},
    )
    workplace = Workplace(tmp_path)
    done = cost(workplace, grid)
    assert done.code == 0, done.output
    expected = snakemakes_jobs(workplace, grid)
    assert expected["finetune"] == 12 and expected["trial"] == 18
    assert said_jobs(done.output) == expected
    # 12 runs and 18 trials of 40 steps.
    assert re.search(r"^all +30 +1\N{NARROW NO-BREAK SPACE}200 ", done.output, re.MULTILINE)


def test_of_a_finished_run_nothing_is_to_be_done_and_its_speed_is_known(chain):
    done = cost(chain, small())
    assert done.code == 0, done.output
    assert "0 jobs to do" in done.output and said_jobs(done.output) == {}
    assert "(2 finished runs on " in done.output and "no rate known" not in done.output


def test_the_speed_is_that_of_finished_runs(chain):
    run_json = chain.results / "finetune" / COMPLETED / "run.json"
    seconds = yaml.safe_load(run_json.read_text("utf-8"))["wall_seconds"]
    (planned,) = all_training(experiment.resolve(ONE_RUN), chain.folder, {})
    assert planned.gradient_evaluations == 40
    # The diverged run counts as well; its one step takes longer or shorter.
    assert planned.seconds == pytest.approx(seconds, rel=0.5)
    (stated,) = all_training(experiment.resolve(ONE_RUN), chain.folder, {"tiny": 64.0})
    assert (stated.seconds, stated.speed.source) == (40 * 32 / 64, "the site file")


def test_the_predicted_bytes_are_those_of_a_finished_run(chain, tmp_path):
    """Predicted without any file of the run, that is before it starts; the diverged run is left out of both."""
    configuration = experiment.resolve(ONE_RUN)
    sizes = {"tiny": sizes_of(configuration, "tiny", tmp_path)}
    planned = disk.disk_of(configuration, site_of(chain), sizes, tmp_path, 1)
    taken = {
        folder: disk.bytes_below(chain.results / folder)
        for folder in ("download/models/tiny", f"finetune/{COMPLETED}/adapter", f"merge/{COMPLETED}")
    }
    assert [sizes["tiny"].base, sizes["tiny"].adapter, sizes["tiny"].merged] == pytest.approx(
        list(taken.values()), rel=0.1
    )
    diverged = sum(disk.bytes_below(folder) for folder in chain.results.glob("*/tiny/prom_core_all/wild"))
    assert planned.end == pytest.approx(disk.bytes_below(chain.results) - diverged, rel=0.25)
    assert planned.peak > planned.end


@pytest.mark.parametrize("method", ["adamw", "sgd", "rk4"])
def test_the_predicted_checkpoint_is_that_of_training(method, chain, start_training, tmp_path):
    changes = {
        "optimizers": {"wild": None, "adamw": {"method": method, "weight_decay": None, "learning_rate": 1e-3}},
        "budget": {"steps": 100_000},
        "training": {"save_steps": 5},
    }
    training = start_training(tmp_path, **changes)
    try:
        wait_for(training, tmp_path, "checkpoints/*/step-*[0-9]/manifest.json")
        (saved, *_) = tmp_path.glob("checkpoints/*/step-*[0-9]/manifest.json")
        taken = disk.bytes_below(saved.parent)
    finally:
        training.kill()
        training.communicate()
    configuration = experiment.resolve(small(**changes))
    sizes = sizes_of(configuration, "tiny", chain.results)
    settings = configuration.finetune_settings(configuration.runs()[0])
    assert sizes.checkpoint(settings, item_bytes=4) == pytest.approx(taken, rel=0.25)


def test_a_plan_beyond_the_disk_is_refused(tmp_path):
    """27 billion weights, 400 runs: more than 40 TB; the network has shapes alone."""
    huge = {"hidden_size": 4096, "layers": 100, "heads": 32, "key_value_heads": 32, "intermediate_size": 16384}
    done = cost(Workplace(tmp_path), small(models={"tiny": {"source": "tiny", "tiny": huge}}, seeds=[*range(200)]))
    assert done.code == 1, done.output
    assert "SpaceError: the plan needs " in done.output and "TB" in done.output
    for word in (" merged models", " adapters", "set keep_merged: false;", " are free"):
        assert word in done.output.split("SpaceError", 1)[1], word


def test_of_a_model_that_the_hub_does_not_tell_of_the_size_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    done = cost(Workplace(tmp_path), small(models={"tiny": None, "big": {"source": "hub", "hub": {"repo": "a/b"}}}))
    assert done.code == 0, done.output
    assert "Not counted, because unknown: model big and its runs (HF_HUB_OFFLINE is set" in done.output


def test_what_snakemake_refuses_is_told(tmp_path):
    done = cost(Workplace(tmp_path), small(seeds=["one"]))
    assert done.code == 2 and "seeds" in done.output and "Traceback" not in done.output
