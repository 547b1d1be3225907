"""What a rule's shell finds inside a Slurm job, and where Snakemake itself was started in one. No Slurm is needed."""

import pytest
import yaml

from dnatune import errors, outcomes
from workflow_runs import Workplace, run, small

DATA, RECORDS = (f"results/small/{place}" for place in ("download/data/prom_core_all", "prepare/prom_core_all"))
#: As bash hands a function on: a `module` that knows those of one name.
MODULE = {"BASH_FUNC_module%%": '() { [ "$2" = known/1 ] || { echo "no $2 here" >&2; return 1; }; }'}


@pytest.fixture
def inside(tmp_path):
    """Return a function that runs the workflow as inside a job, and says what HF_HUB_OFFLINE its shells ended with."""
    workplace = Workplace(tmp_path)

    def start(modules, *arguments, environment=MODULE):
        slurm = {"slurm": {"modules": modules}, "gpus_per_node": 0, "cpus_per_rank": 1, "ranks_per_node": 1}
        workplace.site.write_text(yaml.safe_dump(slurm), "utf-8")
        seen = tmp_path / "offline"
        seen.unlink(missing_ok=True)
        # bash reads this file first.
        (tmp_path / "first.sh").write_text(f"trap 'echo ${{HF_HUB_OFFLINE:-unset}} >> {seen}' EXIT\n")
        variables = {
            "DNATUNE_SITE": str(workplace.site),
            "SLURM_JOB_ID": "7",
            "BASH_ENV": str(tmp_path / "first.sh"),
            **environment,
        }
        done = run(workplace.command(small(), *arguments), tmp_path, variables)
        return done, set(seen.read_text().split()) if seen.exists() else set()

    start.workplace = workplace
    return start


def test_only_a_job_stays_off_the_hub(inside):
    """Snakemake may be started inside an allocation; it downloads there as it does on the log-in node."""
    done, offline = inside(["known/1"], f"{DATA}/train.csv")
    assert (done.code, offline) == (0, {"unset"}), done.output
    # As the plugin starts it on the compute node.
    done, offline = inside(["known/1"], "--mode", "remote", f"{RECORDS}/train.jsonl")
    assert (done.code, offline) == (0, {"1"}), done.output


@pytest.mark.parametrize(
    ("modules", "environment", "told"),
    [(["known/1", "cuda/9", "other/2"], MODULE, "cuda/9"), (["known/1"], {}, "known/1")],
    ids=["missing", "no module command"],
)
def test_a_module_that_cannot_be_loaded_ends_the_job(inside, modules, environment, told):
    done, _ = inside(modules, "--retries=2", f"{DATA}/train.csv", environment=environment)
    assert done.code != 0
    # It would fail in the same way again.
    assert done.output.count("Error in rule download_data") == 1
    outcome = inside.workplace.folder / "logs/small/download/data/prom_core_all.outcome.json"
    failure, _ = outcomes.read(outcome)
    assert isinstance(failure, errors.ConfigurationError) and told in failure.what
    assert "slurm.modules" in failure.where
    # It is the last that is said.
    assert done.output.rstrip().endswith(f"to do: {failure.fix}")
    assert not (inside.workplace.folder / DATA / "train.csv").exists()
