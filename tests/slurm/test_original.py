"""config/original.yaml on nodes like Taiwania 2's: what its jobs ask for, and a small copy of it to the end."""

import re

import pytest
import yaml

from cluster import ROOT, Shape
from dnatune.files import read_json
from slurm_runs import SlurmWorkplace

#: Nodes of 8 GPUs, 36 cores and a little more memory than a job of the document takes.
TAIWANIA = Shape(
    nodes=2,
    cpus=36,
    real_memory_mb=760_000,
    accounts=("ACD113082",),
    partitions={"gp1d": {"MaxTime": "24:00:00"}},
)
SITE = yaml.safe_load((ROOT / "profiles/sites/taiwania2/site.yaml").read_text("utf-8"))
ORIGINAL = yaml.safe_load((ROOT / "config/original.yaml").read_text("utf-8"))


def scaled_down():
    """The document's configuration with a tiny model, simulated promoters and three steps a run."""
    optimizers = {
        name: {**{key: value for key, value in settings.items() if key != "budget"}, "global_batch_size": 16}
        for name, settings in ORIGINAL["optimizers"].items()
    }
    return {
        **ORIGINAL,
        "models": {"DNA-LLaMA3": {"source": "tiny", "tiny": {"hidden_size": 32, "layers": 1, "vocabulary": 600}}},
        "data": {"source": "simulated", "simulated": {"train_size": 200, "dev_size": 20, "test_size": 40}},
        "optimizers": optimizers,
        "budget": {"steps": 3},
        "training": {**ORIGINAL["training"], "precision": "fp32"},
    }


@pytest.fixture(scope="module")
def taiwania(make_cluster):
    return make_cluster(TAIWANIA)


def test_the_original_dry_runs_at_taiwania_2(tmp_path, taiwania):
    workplace = SlurmWorkplace(tmp_path / "place", taiwania)
    workplace.site.write_text(yaml.safe_dump(SITE), "utf-8")
    done = workplace.submit(ORIGINAL, "--dry-run")
    assert done.code == 0, done.output
    asked = dict(re.findall(r"optimizer=(\w+), seed=0\n +resources: (.*ranks=8.*)", done.output))
    for optimizer, words in {"AdamW": {"nodes=2", "tasks=2"}, "RK4": {"nodes=1"}}.items():
        words |= {"ranks=8", "runtime=720", "mem_mb=737280", "slurm_account=ACD113082", "slurm_partition=gp1d"}
        words |= {"slurm_extra=--gpus-per-node=8 --signal=USR1@300"}
        assert words <= set(asked[optimizer].split(", "))


def test_nodes_of_the_command_line_change_nodes_and_tasks_and_nothing_else(tmp_path, taiwania):
    workplace = SlurmWorkplace(tmp_path / "place", taiwania)
    workplace.site.write_text(yaml.safe_dump(SITE), "utf-8")

    def plan(*arguments):
        """Each job's rule, wildcards and resources."""
        done = workplace.submit(ORIGINAL, "--dry-run", *arguments)
        assert done.code == 0, done.output
        _, *parts = re.split(r"^ *(?:local)?rule (\w+):$", done.output, flags=re.MULTILINE)
        jobs = {}
        for rule, body in zip(parts[::2], parts[1::2], strict=True):
            found = dict(re.findall(r"^ +(wildcards|resources): (.*)$", body, re.MULTILINE))
            words = dict(word.split("=", 1) for word in found.get("resources", "").split(", ") if word)
            jobs[rule, found.get("wildcards")] = words
        return jobs

    before, after = plan(), plan("--set-resources", "finetune:nodes=4")
    assert len(before) == 13 and before.keys() == after.keys()
    for job, resources in before.items():
        own = {"nodes": "4", "tasks": "4", "mpi": "srun"} if job[0] == "finetune" else {}
        assert after[job] == {**resources, **own}


def test_a_small_copy_of_the_original_runs_through(tmp_path, taiwania):
    """Two ranks a node, for these computers are small, and no modules; all else is the site's."""
    workplace = SlurmWorkplace(tmp_path / "place", taiwania)
    site = {**SITE, "ranks_per_node": 2, "slurm": {**SITE["slurm"], "modules": []}}
    workplace.site.write_text(yaml.safe_dump(site), "utf-8")
    workplace.complete_on_slurm(scaled_down())
    folder = workplace.folder / "results/original"
    runs = {
        name: read_json(folder / f"finetune/DNA-LLaMA3/prom_core_all/{name}/seed0/run.json")
        for name in ("AdamW", "RK4")
    }
    assert {name: (run["ranks"], run["status"]) for name, run in runs.items()} == {
        "AdamW": (4, "completed"),
        "RK4": (2, "completed"),
    }
    assert (folder / "report.html").is_file()

    rows = {row["Comment"]: row for row in taiwania.sacct("-X") if "finetune" in row["Comment"]}
    assert len(rows) == 2
    for comment, row in rows.items():
        nodes = 2 if "AdamW" in comment else 1
        assert (row["Account"].upper(), row["Partition"]) == ("ACD113082", "gp1d")
        assert row["TimelimitRaw"] == "720" and row["ReqMem"] == f"{720 * nodes}G"
        assert f"node={nodes}" in row["AllocTRES"] and f"gres/gpu={2 * nodes}" in row["AllocTRES"]
        assert int(row["AllocCPUS"]) >= 8 * nodes
    # Where every job must take a GPU, every one does, and CPU rules have none to themselves but once at either end.
    jobs = taiwania.sacct("-X")
    assert all("gres/gpu=" in row["ReqTRES"] for row in jobs)
    run = "DNA-LLaMA3_prom_core_all"
    scored = [f"rule_evaluate_wildcards_{run}_{optimizer}" for optimizer in ("AdamW", "RK4")]
    asked = [f"rule_evaluate_base_wildcards_{run}"]
    baselines = ["rule_prepare_evaluate_baseline_dev_prepare", "rule_baselines_evaluate_baseline"]
    groups = [*baselines, *asked, *scored, "rule_compare"]
    assert sorted(row["Comment"] for row in jobs) == sorted([*rows, *groups])
