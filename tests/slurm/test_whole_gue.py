"""All 28 tasks of GUE, two optimizers, one seed, on a real Slurm: it ends green, and costs what was said before."""

import random
import re
from collections import Counter

import pytest
from test_workflow import wait

import forked_python
from dnatune.cost import disk, jobs
from dnatune.cost.model_sizes import sizes_of
from dnatune.settings import experiment, site
from dnatune.settings.tasks import GUE
from slurm_runs import SlurmWorkplace
from workflow_runs import ROOT, run, small

SECONDS = 7200
ROWS = {"train": 4, "dev": 2, "test": 2}
CONFIGURATION = small(
    tasks=list(GUE),
    seeds=[0],
    optimizers={"adamw": {"learning_rate": 1e-3, "weight_decay": None}, "rk4": {"learning_rate": 0.1}, "wild": None},
    budget={"steps": 1},
    data={"source": "directory", "simulated": None, "directory": {"path": "GUE"}},
)


def write_gue(folder):
    """Write files of the right classes and lengths, with so many rows a class as `ROWS` says."""
    dice = random.Random(0)
    for name, task in GUE.items():
        place = folder / "GUE" / name
        place.mkdir(parents=True)
        for split, each in ROWS.items():
            labels = [label for label in range(len(task.labels)) for _ in range(each)]
            rows = [f"{''.join(dice.choices('ACGT', k=task.length))},{label}\n" for label in labels]
            (place / f"{split}.csv").write_text("sequence,label\n" + "".join(rows), "ascii")


def ended(output):
    """Return how many jobs of each rule Snakemake says have ended well."""
    return Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", output, re.MULTILINE))


@pytest.mark.slow
def test_all_of_gue_ends_green_and_costs_what_was_said(tmp_path, cluster):
    workplace = SlurmWorkplace(tmp_path, cluster, ranks_per_node=1)
    write_gue(tmp_path)
    workplace.command(CONFIGURATION)
    command = forked_python.stage("cost", "--configfile", str(tmp_path / "config.yaml"))
    said = run(command, tmp_path, workplace.environment)
    assert said.code == 0, said.output
    planned = jobs.read_counts(workplace.submit(CONFIGURATION, "--dry-run", "--quiet", "rules").output)
    assert planned["finetune"] == 2 * len(GUE) == 56
    assert f"56 runs (1 model × 28 tasks × 2 optimizers × 1 seed); {sum(planned.values())} jobs to do" in said.output

    settings = experiment.resolve(CONFIGURATION)
    sizes = {"tiny": sizes_of(settings, "tiny", workplace.results)}
    place = site.load(ROOT, workplace.environment)
    foreseen = disk.disk_of(settings, place, sizes, workplace.results, 1).end

    process = workplace.start(CONFIGURATION)
    assert process.wait(SECONDS) == 0, workplace.said()[-5000:]
    assert ended(workplace.said()) == Counter(planned)
    # The log-in node's own jobs are the downloads, the plans and the report's; all others have gone to Slurm.
    submitted = set(re.findall(r"has been submitted with SLURM jobid (\d+)", workplace.said()))
    rows = wait("sacct has the jobs", lambda: [row for row in cluster.sacct("-X") if row["JobID"] in submitted])
    assert {row["State"] for row in rows} == {"COMPLETED"} and len(rows) == len(submitted)
    assert foreseen == pytest.approx(disk.bytes_below(workplace.results), rel=0.25)
    page = (workplace.results / "report.html").read_text("utf-8")
    assert all(name in page for name in GUE)
    assert workplace.plan(CONFIGURATION).counts == {}
