"""`snakemake --profile slurm` on a real Slurm: what comes out, on how many nodes, and after what goes wrong."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from slurm_runs import SlurmWorkplace
from workflow_runs import Workplace, small

from dnatune.files import read_json, read_json_lines

RUN = "finetune/tiny/prom_core_all/adamw/seed3"
#: A rate at which rounding, which the number of ranks changes, does not grow over the run.
CALM = {"wild": None, "adamw": {"learning_rate": 5.0e-3}}


def predictions(workplace):
    return (workplace.results / "evaluate/tiny/prom_core_all/adamw/seed3/predictions.tsv").read_text()


def losses(workplace):
    return [row["loss"] for row in read_json_lines(workplace.results / RUN / "training.jsonl")]


def finetune_jobs(cluster):
    """Return the Slurm jobs of rule finetune, newest last."""
    return [row for row in cluster.sacct("-X") if row["Comment"].startswith("rule_finetune")]


def wait(what, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="module")
def configuration():
    return small(optimizers=CALM)


@pytest.fixture(scope="module")
def local(tmp_path_factory, configuration):
    """The same runs on this machine alone, with as many ranks."""
    import yaml

    workplace = Workplace(tmp_path_factory.mktemp("local"))
    workplace.site.write_text(yaml.safe_dump({"ranks_per_node": 2, "cpus_per_rank": 1, "mem_mb": 4000}))
    workplace.complete(configuration)
    return workplace


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, cluster, configuration):
    """The chain, submitted job by job."""
    workplace = SlurmWorkplace(tmp_path_factory.mktemp("submitted"), cluster)
    workplace.complete_on_slurm(configuration)
    return workplace


def test_what_slurm_computes_is_what_one_machine_computes(local, submitted):
    assert predictions(submitted) == predictions(local)
    assert (submitted.results / "report.html").is_file()


def test_jobs_can_be_told_apart_and_downloads_stay_on_the_log_in_node(submitted, cluster):
    comments = {row["Comment"] for row in cluster.sacct("-X")}
    assert "rule_finetune_wildcards_tiny_prom_core_all_adamw_3" in comments
    assert not any("download" in comment for comment in comments)


@pytest.mark.parametrize("nodes", [2, 3])
def test_more_nodes_train_the_same_run(tmp_path, cluster, configuration, local, nodes):
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    target = f"results/small/{RUN}/training.jsonl"
    workplace.complete_on_slurm(configuration, target, "--set-resources", f"finetune:nodes={nodes}")
    assert losses(workplace) == pytest.approx(losses(local), rel=1e-4)
    record = read_json(workplace.results / RUN / "adapter/run.json")
    assert record["ranks"] == 2 * nodes

    def recorded():
        jobs = finetune_jobs(cluster)
        return jobs[-1] if jobs and jobs[-1]["State"] == "COMPLETED" else None

    job = wait("sacct has the job", recorded)
    assert job["NNodes"] == str(nodes)
    assert f"gres/gpu={2 * nodes}" in job["AllocTRES"] and f"node={nodes}" in job["AllocTRES"]


def test_a_job_about_to_end_saves_itself_and_goes_on(tmp_path, cluster, local, configuration):
    """Slurm's own signal; the requeued job must finish the run as if it had never been cut."""
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    # Long enough to be caught: the uncut run of the same length is the reference.
    long = small(optimizers=CALM, budget={"steps": 400})
    target = f"results/small/{RUN}/training.jsonl"
    process = workplace.start(long, target)
    log = workplace.folder / f"logs/small/{RUN}.log"
    wait("training has begun", lambda: log.exists() and "step 20 of 400" in log.read_text())
    job = next(row for row in cluster.jobs() if row["state"] == "RUNNING")
    cluster.run("scancel", "--signal=USR1", job["id"])
    assert process.wait(300) == 0, (workplace.folder / "snakemake.log").read_text()
    rows = read_json_lines(workplace.results / RUN / "training.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 401))
    # The log is of the job as it went on, from a checkpoint; regular ones come later than the run is long.
    assert "continuing from checkpoint" in log.read_text()
    reference = Workplace(tmp_path / "uncut")
    reference.site.write_text(local.site.read_text())
    reference.complete(long, target)
    expected = [row["loss"] for row in read_json_lines(reference.results / RUN / "training.jsonl")]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-5)
    # Once submitted, never failed: no retry was used.
    assert "Trying to restart" not in (workplace.folder / "snakemake.log").read_text()


def test_a_killed_rank_ends_its_job_at_once_and_the_retry_is_right(tmp_path, cluster, local, configuration):
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    target = f"results/small/{RUN}/training.jsonl"
    slow = small(optimizers=CALM, budget={"steps": 400})
    process = workplace.start(slow, target)
    log = workplace.folder / f"logs/small/{RUN}.log"
    wait("training has begun", lambda: log.exists() and "step 10 of 400" in log.read_text())
    job = next(row for row in cluster.jobs() if row["state"] == "RUNNING")["id"]
    os.kill(ranks_of(workplace)[1], signal.SIGKILL)
    began = time.monotonic()
    wait("the job has ended", lambda: job not in {row["id"] for row in cluster.jobs()}, 60)
    assert time.monotonic() - began < 15
    assert process.wait(300) == 0, (workplace.folder / "snakemake.log").read_text()
    said = (workplace.folder / "snakemake.log").read_text()
    assert said.count("Trying to restart") == 1
    assert "was ended by signal 9" in said
    assert len(losses(workplace)) == 400


def ranks_of(workplace):
    """Return the processes of finetune.py that write below a workplace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            place = (folder / "cwd").readlink()
        except OSError:
            continue
        if any(word.endswith("finetune.py") for word in words[1:3]) and place == workplace.folder:
            found.append(int(folder.name))
    assert len(found) == 2, found
    return sorted(found)


def test_a_second_snakemake_waits_for_the_first_ones_run(tmp_path, cluster, configuration):
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    target = f"results/small/{RUN}/training.jsonl"
    slow = small(optimizers=CALM, budget={"steps": 400})
    first = workplace.start(slow, target)
    log = workplace.folder / f"logs/small/{RUN}.log"
    wait("training has begun", lambda: log.exists() and "step 10 of 400" in log.read_text())
    first.kill()
    first.wait()
    holder = json.loads((workplace.results / RUN / "checkpoints/run.lock").read_text())
    assert holder["job"] in {row["id"] for row in cluster.jobs()}
    assert workplace.submit(slow, "--unlock").code == 0
    done = workplace.complete_on_slurm(slow, target)
    assert "Trying to restart" not in done.output
    assert f"waiting: Slurm job {holder['job']}" in log.read_text()
    assert len(losses(workplace)) == 400
    assert not (workplace.results / RUN / "checkpoints").exists()


def test_a_cancelled_job_ends_snakemake_with_its_number(tmp_path, cluster, configuration):
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    job, process = started(workplace, cluster, "--retries=0")
    cluster.run("scancel", job["id"])
    assert process.wait(120) != 0
    said = (workplace.folder / "snakemake.log").read_text()
    assert f"SLURM-job '{job['id']}' failed" in said and "CANCELLED" in said


def test_accounting_that_stops_half_way_hangs_nothing(tmp_path, cluster, configuration):
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    _, process = started(workplace, cluster)
    cluster.stop_accounting()
    try:
        assert process.wait(300) == 0, (workplace.folder / "snakemake.log").read_text()
    finally:
        cluster.start_accounting()
    assert len(losses(workplace)) == 400


def test_a_lost_node_s_run_goes_on_elsewhere(tmp_path, cluster, configuration):
    workplace = SlurmWorkplace(tmp_path / "place", cluster)
    job, process = started(workplace, cluster)
    cluster.stop_node(job["nodes"])
    for rank in ranks_of(workplace):
        os.kill(rank, signal.SIGKILL)
    assert process.wait(400) == 0, (workplace.folder / "snakemake.log").read_text()
    assert len(losses(workplace)) == 400
    cluster.start_node(job["nodes"])


def started(workplace, cluster, *arguments):
    """Start a run of 400 steps; return its Slurm job and Snakemake's process once it trains."""
    slow = small(optimizers=CALM, budget={"steps": 400})
    process = workplace.start(slow, f"results/small/{RUN}/training.jsonl", *arguments)
    log = workplace.folder / f"logs/small/{RUN}.log"
    wait("training has begun", lambda: log.exists() and "step 10 of 400" in log.read_text())
    return next(row for row in cluster.jobs() if row["state"] == "RUNNING"), process
