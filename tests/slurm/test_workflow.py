"""`snakemake --profile slurm` on a real Slurm: what comes out, on how many nodes, and after what goes wrong."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from dnatune.files import read_json, read_json_lines
from open_ports import listening
from slurm_runs import SlurmWorkplace
from workflow_runs import ROOT, Workplace, small

RUN = "finetune/tiny/prom_core_all/adamw/seed3"
#: A rate at which rounding, which the number of ranks changes, does not grow over the run.
CALM = {"wild": None, "adamw": {"learning_rate": 5.0e-3}}
#: A run that lasts long enough to be disturbed.
STEPS = 200
LONG = small(optimizers=CALM, budget={"steps": STEPS})
TARGET = f"results/small/{RUN}/training.jsonl"


def predictions(workplace):
    return (workplace.results / "evaluate/tiny/prom_core_all/adamw/seed3/predictions.tsv").read_text()


def losses(workplace):
    return [row["loss"] for row in read_json_lines(workplace.results / RUN / "training.jsonl")]


def started(workplace, cluster, *arguments):
    """Start a long run; return its Slurm job, Snakemake's process and the run's log once it trains."""
    process = workplace.start(LONG, TARGET, *arguments)
    log = workplace.folder / f"logs/small/{RUN}.log"
    wait("training has begun", lambda: log.exists() and f"step 10 of {STEPS}" in log.read_text())
    job = next(row for row in cluster.jobs() if row["state"] == "RUNNING")
    return job, process, log


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
    workplace = Workplace(tmp_path_factory.mktemp("local"))
    workplace.site.write_text(yaml.safe_dump({"ranks_per_node": 2, "cpus_per_rank": 1, "mem_mb": 4000}))
    workplace.complete(configuration)
    return workplace


@pytest.fixture(scope="module")
def uncut(tmp_path_factory, local):
    """The losses of the long run when nothing happens to it."""
    workplace = Workplace(tmp_path_factory.mktemp("uncut"))
    workplace.site.write_text(local.site.read_text())
    give_prepared(local, workplace)
    workplace.complete(LONG, TARGET)
    return pytest.approx(losses(workplace), rel=1e-5)


def give_prepared(local, workplace):
    """Give what all runs begin with, so that a test of training begins with it; one test submits the whole chain."""
    for stage in ("download", "prepare"):
        shutil.copytree(local.results / stage, workplace.results / stage)


@pytest.fixture
def new_place(tmp_path, cluster, local):
    """Return a function that makes a folder from which training can be submitted at once."""

    def make(name="place"):
        workplace = SlurmWorkplace(tmp_path / name, cluster)
        give_prepared(local, workplace)
        return workplace

    return make


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, cluster, configuration):
    """The chain, submitted job by job, asked after as the profile says; and what Snakemake said."""
    workplace = SlurmWorkplace(tmp_path_factory.mktemp("submitted"), cluster)
    done = workplace.complete_on_slurm(configuration, watchful=False)
    return workplace, done.output


def test_what_slurm_computes_is_what_one_machine_computes(local, submitted):
    workplace, _ = submitted
    assert predictions(workplace) == predictions(local)
    assert (workplace.results / "report.html").is_file()


@pytest.mark.slow
def test_the_demo_comes_out_as_on_one_machine(tmp_path, cluster, local):
    """Every file of predictions, to the last digit."""
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text("utf-8"))
    demo["models"]["tiny"]["directory"]["path"] = str(ROOT / "config/demo-base")
    alone, submitted = Workplace(tmp_path / "alone"), SlurmWorkplace(tmp_path / "submitted", cluster)
    alone.site.write_text(local.site.read_text())
    alone.complete(demo)
    submitted.complete_on_slurm(demo, watchful=False)
    found, expected = (
        {str(file.relative_to(place.folder)): file.read_text() for file in place.folder.rglob("predictions.tsv")}
        for place in (submitted, alone)
    )
    assert found == expected and len(found) == 11
    assert (submitted.folder / "results/demo/report.html").is_file()


def test_jobs_can_be_told_apart_and_downloads_stay_on_the_log_in_node(submitted, cluster):
    comments = {row["Comment"] for row in cluster.sacct("-X")}
    assert "rule_finetune_wildcards_tiny_prom_core_all_adamw_3" in comments
    assert not any("download" in comment for comment in comments)


def assert_trained_on(workplace, cluster, job, nodes, expected):
    """The same curve, on the nodes and GPUs that were asked for, each rank with a GPU of its own."""
    assert losses(workplace) == pytest.approx(expected, rel=1e-4)
    record = read_json(workplace.results / RUN / "run.json")
    assert record["ranks"] == 2 * nodes

    def recorded():
        rows = [row for row in finetune_jobs(cluster) if row["JobID"] == job and row["State"] == "COMPLETED"]
        return rows[0] if rows else None

    row = wait("sacct has the job", recorded)
    assert row["NNodes"] == str(nodes)
    assert f"gres/gpu={2 * nodes}" in row["AllocTRES"] and f"node={nodes}" in row["AllocTRES"]
    hosts = cluster.run("scontrol", "show", "hostnames", row["NodeList"]).stdout.split()
    assert len(hosts) == nodes
    found = [device.split(":") for device in record["devices"]]
    assert sorted({host for host, _ in found}) == sorted(hosts)
    for host in hosts:
        numbers = [number for where, number in found if where == host]
        assert len(set(numbers)) == 2 and all(number.isdecimal() for number in numbers)


def job_of(said):
    """Return the number of the only job that Snakemake says it has submitted for rule finetune."""
    (number,) = set(re.findall(r"rule_finetune/\S*/(\d+)\.log", said))
    return number


def test_one_node_trains_the_same_run(cluster, submitted, local):
    workplace, said = submitted
    assert_trained_on(workplace, cluster, job_of(said), 1, losses(local))


def test_three_nodes_train_the_same_run(new_place, cluster, configuration, local):
    workplace = new_place()
    done = workplace.complete_on_slurm(configuration, TARGET, "--set-resources", "finetune:nodes=3")
    assert_trained_on(workplace, cluster, job_of(done.output), 3, losses(local))


def test_two_workflows_at_once_do_not_meet(new_place, cluster, configuration, local):
    """Both over two nodes, so that both rendezvous on ports of the same machine."""
    places = [new_place(name) for name in ("one", "other")]
    running = [place.start(configuration, TARGET, "--set-resources", "finetune:nodes=2") for place in places]
    wait("both train at once", lambda: sum(row["state"] == "RUNNING" for row in cluster.jobs()) == 2)
    for place, process in zip(places, running, strict=True):
        assert process.wait(300) == 0, place.said()
        assert_trained_on(place, cluster, job_of(place.said()), 2, losses(local))


def test_a_run_over_two_nodes_listens_at_the_address_of_its_nodes_alone(tmp_path, cluster, local):
    """Slurm reaches the test's nodes at 127.0.0.1; torch by itself would listen on every interface."""
    workplace = SlurmWorkplace(tmp_path, cluster, slurm={"signal_seconds": 30, "network_interface": "lo"})
    give_prepared(local, workplace)
    job, process, _ = started(workplace, cluster, "--set-resources", "finetune:nodes=2")
    port = 12000 + int(job["id"]) % 18000
    found = set().union(*(listening(rank) for rank in ranks_of(workplace, 4)))
    cluster.run("scancel", job["id"])
    process.wait(300)
    assert ("127.0.0.1", port) in found
    assert {address for address, _ in found} == {"127.0.0.1"}


def as_uncut(uncut, nodes):
    """Four ranks add up in another order than the two of the uncut run; over 200 steps that grew to 6e-4."""
    return uncut if nodes == 1 else pytest.approx(uncut.expected, rel=2e-3)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_about_to_end_saves_itself_and_goes_on(new_place, cluster, uncut, nodes):
    """Slurm's own signal; the requeued job must finish the run as if it had never been cut."""
    workplace = new_place()
    job, process, log = started(workplace, cluster, "--set-resources", f"finetune:nodes={nodes}")
    cluster.run("scancel", "--signal=USR1", job["id"])
    assert process.wait(300) == 0, workplace.said()
    rows = read_json_lines(workplace.results / RUN / "training.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    # The log is of the job as it went on, from a checkpoint; regular ones come later than the run is long.
    assert "continuing from checkpoint" in log.read_text()
    assert losses(workplace) == as_uncut(uncut, nodes)
    # Once submitted, never failed: no retry was used.
    assert "Trying to restart" not in workplace.said()


def test_runs_that_share_a_job_go_on_when_it_is_about_to_end(new_place, cluster, uncut):
    """The first run is done and the second trains: the requeued job leaves the one and goes on with the other."""
    workplace = new_place()
    runs = [RUN.replace("seed3", f"seed{seed}") for seed in (3, 4)]
    targets = [f"results/small/{place}/training.jsonl" for place in runs]
    process = workplace.start({**LONG, "seeds": [3, 4], "runs_per_job": 2}, *targets)
    log = workplace.folder / f"logs/small/{RUN}-4.log"
    wait("the second run trains", lambda: log.exists() and log.read_text().count(f"step 10 of {STEPS}") == 2)
    (job,) = (row for row in cluster.jobs() if row["state"] == "RUNNING")
    cluster.run("scancel", "--signal=USR1", job["id"])
    assert process.wait(300) == 0, workplace.said()
    said = log.read_text()
    assert said.count("this very run is complete") == said.count("continuing from checkpoint") == 1
    assert losses(workplace) == uncut
    rows = read_json_lines(workplace.results / runs[1] / "training.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert "Trying to restart" not in workplace.said()


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
def test_a_killed_rank_ends_its_job_at_once_and_the_retry_is_right(new_place, cluster, uncut):
    workplace = new_place()
    job, process, _ = started(workplace, cluster)
    os.kill(ranks_of(workplace)[1], signal.SIGKILL)
    began = time.monotonic()
    wait("the job has ended", lambda: job["id"] not in {row["id"] for row in cluster.jobs()}, 60)
    assert time.monotonic() - began < 15
    assert process.wait(300) == 0, workplace.said()
    said = workplace.said()
    assert said.count("Trying to restart") == 1
    assert "was ended by signal 9" in said
    assert losses(workplace) == uncut


def ranks_of(workplace, count=2):
    """Return the processes of `dnatune finetune` that write below a workplace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            place = (folder / "cwd").readlink()
        except OSError:
            continue
        if words[1:4] == ["-m", "dnatune", "finetune"] and place == workplace.folder:
            found.append(int(folder.name))
    assert len(found) == count, found
    return sorted(found)


@pytest.mark.fault("two writers")
def test_a_second_snakemake_waits_for_the_first_ones_run(new_place, cluster, uncut):
    workplace = new_place()
    _, first, log = started(workplace, cluster)
    first.kill()
    first.wait()
    holder = json.loads((workplace.results / RUN / "checkpoints/run.lock").read_text())
    assert holder["job"] in {row["id"] for row in cluster.jobs()}
    # The run stands still until the second job has come.
    ranks = ranks_of(workplace)
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)
    assert workplace.submit(LONG, "--unlock").code == 0
    second = workplace.start(LONG, TARGET)
    wait("the second job waits", lambda: log.exists() and f"waiting: Slurm job {holder['job']}" in log.read_text())
    for rank in ranks:
        os.kill(rank, signal.SIGCONT)
    assert second.wait(300) == 0, workplace.said()
    assert "Trying to restart" not in workplace.said()
    # What the first has made in the meantime is the run; it is not made twice.
    waited = log.read_text()
    assert "this very run is complete" in waited and f"step 10 of {STEPS}" not in waited
    assert losses(workplace) == uncut
    assert not (workplace.results / RUN / "checkpoints").exists()


@pytest.mark.fault("two writers")
@pytest.mark.parametrize("requeued", [False, True], ids=["never begun", "requeued"])
def test_a_second_snakemake_is_refused_while_jobs_of_the_first_would_start_later(new_place, cluster, requeued):
    workplace = new_place()
    if requeued:
        job, first, _ = started(workplace, cluster)
        number = job["id"]
    else:
        # Somebody else has all nodes.
        cluster.run("sbatch", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 600")
        first = workplace.start(LONG, TARGET)
        (number,) = wait("it is submitted", lambda: re.findall(r"submitted with SLURM jobid (\d+)", workplace.said()))
        # Its number is written down a moment later.
        wait("it is noted", lambda: number in noted(workplace))
    first.kill()
    first.wait()
    if requeued:
        cluster.run("scontrol", "requeuehold", number)
    wait("it is pending", lambda: (number, "PENDING") in {(row["id"], row["state"]) for row in cluster.jobs()})
    assert workplace.submit(LONG, "--unlock").code == 0
    done = workplace.submit(LONG, TARGET)
    assert done.code != 0 and "Traceback" not in done.output
    assert f"{number} (rule_finetune_wildcards_tiny_prom_core_all_adamw_3)" in done.output
    assert f"scancel {number}" in done.output
    assert "submitted with SLURM jobid" not in done.output
    # Another workflow of the same folder goes its own way, and so does a look at what would be done.
    assert workplace.submit({**LONG, "name": "other"}, f"results/other/{RUN}/training.jsonl", "--dry-run").code == 0
    assert workplace.submit(LONG, TARGET, "--dry-run").code == 0


def noted(workplace):
    """Return what Snakemake has written down of the jobs that are under way."""
    return "".join(path.read_text() for path in (workplace.folder / ".snakemake/incomplete").glob("*"))


def test_a_run_that_slurm_does_not_requeue_goes_on_without_a_retry(new_place, cluster, uncut):
    workplace = new_place()
    job, process, log = started(workplace, cluster, "--retries=0")
    cluster.run("scontrol", "update", f"JobId={job['id']}", "Requeue=0")
    cluster.run("scancel", "--signal=USR1", job["id"])
    assert process.wait(400) == 0, workplace.said()
    said = workplace.said()
    assert said.count("Trying to restart") == 1
    # Asked three times (tests/unit/launch/test_slurm.py), told once.
    assert said.count(f"it was not requeued: `scontrol requeue {job['id']}` says: ") == 1
    assert "continuing from checkpoint" in log.read_text()
    assert losses(workplace) == uncut


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_killed_launcher_takes_its_ranks_along_and_the_retry_is_right(new_place, cluster, uncut, nodes):
    workplace = new_place()
    _, process, _ = started(workplace, cluster, "--set-resources", f"finetune:nodes={nodes}")
    holder = json.loads((workplace.results / RUN / "checkpoints/run.lock").read_text())
    ranks = ranks_of(workplace, 2 * nodes)
    os.kill(holder["process"], signal.SIGKILL)
    wait("the ranks have ended", lambda: not any(Path(f"/proc/{rank}/cwd").exists() for rank in ranks), 15)
    assert process.wait(300) == 0, workplace.said()
    assert workplace.said().count("Trying to restart") == 1
    assert losses(workplace) == as_uncut(uncut, nodes)


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
def test_a_launcher_of_two_nodes_that_is_told_to_end_saves_and_the_retry_goes_on(new_place, cluster):
    workplace = new_place()
    _, process, log = started(workplace, cluster, "--set-resources", "finetune:nodes=2")
    holder = json.loads((workplace.results / RUN / "checkpoints/run.lock").read_text())
    ranks = ranks_of(workplace, 4)
    began = time.monotonic()
    os.kill(holder["process"], signal.SIGTERM)
    wait("the ranks have ended", lambda: not any(Path(f"/proc/{rank}/cwd").exists() for rank in ranks), 60)
    assert time.monotonic() - began < 60
    assert process.wait(400) == 0, workplace.said()
    assert (
        "reason: RunError: told to end by signal 15, and its ranks with it; the run is saved at step"
        in workplace.said()
    )
    assert workplace.said().count("Trying to restart") == 1
    assert "continuing from checkpoint" in log.read_text()


def test_a_job_that_would_only_fail_again_takes_its_gpus_once(new_place, cluster):
    """Two nodes, so that the message comes from a rank to its launcher and from there to the job's own."""
    workplace = new_place()
    tight = small(optimizers=CALM, training={"max_seq_length": 20})
    done = workplace.submit(tight, TARGET, "--set-resources", "finetune:nodes=2")
    assert done.code != 0 and "Traceback" not in done.output
    log = f"logs/small/{RUN}.log"
    assert f"log: {workplace.folder}/{log}" in done.output
    assert "rule finetune: DataError: " in done.output.rstrip().splitlines()[-3]
    assert "raise 'training.max_seq_length'" in done.output.rstrip().splitlines()[-1]
    assert done.output.count("submitted with SLURM jobid") == 1
    assert "Trying to restart" not in done.output
    # The job's own log is kept where one looks.
    kept = workplace.folder / "logs/slurm/rule_finetune/tiny_prom_core_all_adamw_3" / f"{job_of(done.output)}.log"
    assert log in kept.read_text()


def test_a_cancelled_job_ends_snakemake_with_its_number(new_place, cluster):
    workplace = new_place()
    job, process, _ = started(workplace, cluster)
    cluster.run("scancel", job["id"])
    assert process.wait(120) != 0
    said = workplace.said()
    assert f"SLURM-job '{job['id']}' failed" in said and "CANCELLED" in said
    assert "Trying to restart" not in said and said.count("submitted with SLURM jobid") == 1


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
@pytest.mark.parametrize(("number", "nodes"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_snakemake_that_is_told_to_end_saves_and_leaves_no_job(new_place, cluster, uncut, number, nodes):
    """The jobs are looked after as the profile says: Snakemake itself would notice their end minutes later."""
    workplace = new_place()
    two = small(optimizers=CALM, budget={"steps": STEPS}, seeds=[3, 4])
    targets = [TARGET, TARGET.replace("seed3", "seed4")]
    options = ("--set-resources", f"finetune:nodes={nodes}")
    # Somebody else has the other nodes, so that a run waits in the queue.
    cluster.run("sbatch", f"--nodes={3 - nodes}", "--exclusive", "--output=/dev/null", "--wrap=sleep 600")
    (other,) = (row["id"] for row in cluster.jobs())
    process = workplace.start(two, *targets, *options, watchful=False)
    logs = [workplace.folder / f"logs/small/{RUN.replace('seed3', f'seed{seed}')}.log" for seed in (3, 4)]
    wait("one trains", lambda: any(log.exists() and f"step 10 of {STEPS}" in log.read_text() for log in logs))
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) != 0
    assert time.monotonic() - began < 60
    assert {row["id"] for row in cluster.jobs() if row["state"] in ("RUNNING", "PENDING")} == {other}
    said = workplace.said()
    assert "told to end: trainings are saved" in said and "Traceback" not in said and "Trying to restart" not in said
    cluster.run("scancel", other)
    workplace.complete_on_slurm(two, *targets, *options)
    assert any("continuing from checkpoint" in log.read_text() for log in logs)
    assert losses(workplace) == as_uncut(uncut, nodes)


def test_accounting_that_stops_half_way_hangs_nothing(new_place, cluster, uncut):
    workplace = new_place()
    _, process, _ = started(workplace, cluster)
    cluster.stop_accounting()
    try:
        assert process.wait(300) == 0, workplace.said()
    finally:
        cluster.start_accounting()
    assert losses(workplace) == uncut


@pytest.mark.fault("a lost node")
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_lost_node_s_run_goes_on_elsewhere(new_place, cluster, uncut, nodes):
    """Of one node, the one with the job's own script; of two, the other."""
    workplace = new_place()
    job, process, _ = started(workplace, cluster, "--set-resources", f"finetune:nodes={nodes}")
    lost = cluster.run("scontrol", "show", "hostnames", job["nodes"]).stdout.split()[-1]
    cluster.stop_node(lost)
    assert process.wait(600) == 0, workplace.said()
    record = read_json(workplace.results / RUN / "run.json")
    assert not any(device.startswith(f"{lost}:") for device in record["devices"])
    assert losses(workplace) == as_uncut(uncut, nodes)
