"""The cluster that the tests run on behaves as a real one where they rely on it, and leaves nothing behind."""

import contextlib
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import ROOT, Cluster, Shape
from dnatune.errors import ConfigurationError, RunError

PLAIN = Shape(accounting=False)
SMALL = Shape(nodes=1, accounting=False)
ALL_GPUS = "0,1,2,3,4,5,6,7"

#: Says that it is there, and that USR1 came: arguments are a name and a folder.
LISTENER = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
signal.signal(signal.SIGUSR1, lambda *_: (folder / f"{name}.heard").touch())
(folder / f"{name}.ready").touch()
time.sleep(90)
time.sleep(90)
"""


def submit(cluster: Cluster, script: str, *options: str) -> str:
    """Submit a bash script and return the job's ID."""
    command = ("sbatch", "--parsable", "--output=/dev/null", "--mem=1000", *options)
    done = cluster.run(*command, input=f"#!/bin/bash\n{script}\n")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(cluster: Cluster, job: str) -> str:
    """Return the state of a job that is in the queue or has just left it."""
    (row,) = cluster.jobs("--states=all", f"--jobs={job}")
    return row["state"]


def wait_for(cluster: Cluster, job: str, wanted: str, timeout: float = 20) -> None:
    cluster.wait_until(f"job {job} is {wanted}", lambda: state(cluster, job) == wanted, timeout)


def test_a_task_on_each_of_two_nodes_sees_its_eight_gpus_and_is_accounted_for(cluster, tmp_path):
    shown = f"echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES > {tmp_path}/$SLURM_PROCID"
    job = submit(cluster, f"srun bash -c {shlex.quote(shown)}", "--nodes=2", "--ntasks=2", "--gres=gpu:8")
    wait_for(cluster, job, "COMPLETED")

    assert [(tmp_path / rank).read_text().split() for rank in "01"] == [["n1", ALL_GPUS], ["n2", ALL_GPUS]]

    def row() -> dict[str, str]:
        return {row["JobID"]: row for row in cluster.sacct(f"--jobs={job}")}.get(job, {})

    # slurmctld sends its records in batches.
    cluster.wait_until("sacct knows the job's end", lambda: row().get("State") == "COMPLETED", 20)
    allocated = dict(part.split("=") for part in row()["AllocTRES"].split(","))
    assert (allocated["node"], allocated["gres/gpu"]) == ("2", "16")
    assert row()["Account"] == "dnatune"


def test_jobs_that_share_a_node_get_different_gpus(cluster, tmp_path):
    script = f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/$SLURM_JOB_ID; sleep 100"
    jobs = [submit(cluster, script, "--nodelist=n1", "--gres=gpu:4") for _ in range(2)]
    third = submit(cluster, script, "--nodelist=n1", "--gres=gpu:4")
    for job in jobs:
        wait_for(cluster, job, "RUNNING")
        cluster.wait_until("the job has written", (tmp_path / job).exists, 10)

    first, second = ({*(tmp_path / job).read_text().strip().split(",")} for job in jobs)
    assert (len(first), len(second)) == (4, 4)
    assert first | second == {*ALL_GPUS.split(",")}
    assert state(cluster, third) == "PENDING"


def test_memory_is_handed_out(cluster):
    # The later option wins: 40 GB twice do not fit into the 64 GB of a node.
    first = submit(cluster, "sleep 100", "--nodelist=n1", "--mem=40000")
    wait_for(cluster, first, "RUNNING")
    second = submit(cluster, "sleep 100", "--nodelist=n1", "--mem=40000")
    time.sleep(2)  # a job that fits starts within one
    assert state(cluster, second) == "PENDING"
    refused = cluster.run("sbatch", "--mem=65000", "--wrap=true")
    assert "Memory specification can not be satisfied" in refused.stderr


def test_an_unknown_account_is_refused(cluster):
    refused = cluster.run("sbatch", "--account=nobody", "--wrap=true")
    assert refused.returncode == 1
    assert "Invalid account" in refused.stderr


def test_variables_of_another_slurm_do_not_reach_a_client(cluster, monkeypatch):
    monkeypatch.setenv("SBATCH_ACCOUNT", "nobody")
    monkeypatch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
    wait_for(cluster, submit(cluster, "true"), "COMPLETED")


def test_a_lost_node_costs_its_jobs_and_comes_back(cluster):
    again = submit(cluster, "sleep 100", "--nodelist=n2", "--requeue")
    never = submit(cluster, "sleep 100", "--nodelist=n2", "--no-requeue")
    for job in (again, never):
        wait_for(cluster, job, "RUNNING")

    cluster.stop_node("n2")
    wait_for(cluster, never, "NODE_FAIL", 30)
    wait_for(cluster, again, "PENDING", 5)
    assert cluster.node_states() == {"n1": "idle", "n2": "down*", "n3": "idle"}

    cluster.start_node("n2")
    cluster.wait_until("the node is back", lambda: not cluster.node_states()["n2"].startswith("down"), 20)
    wait_for(cluster, again, "RUNNING", 40)


def test_the_signal_ahead_of_the_limit_reaches_the_processes_of_steps_alone(cluster, tmp_path):
    listener = tmp_path / "listener.py"
    listener.write_text(LISTENER)
    listen = f"{shlex.quote(sys.executable)} {listener}"
    step = tmp_path / "step.sh"
    step.write_text(f"""
        trap 'touch {tmp_path}/task.heard' USR1; touch {tmp_path}/task.ready
        {listen} child {tmp_path} &
        bash -c 'trap "" USR1; {listen} grandchild {tmp_path}; true' &
        setsid {listen} session {tmp_path} &
        (setsid {listen} orphan {tmp_path} &)
        while :; do sleep 1; done
    """)
    script = f"""
        trap 'touch {tmp_path}/batch.heard' USR1; touch {tmp_path}/batch.ready
        {listen} batch_child {tmp_path} &
        srun --ntasks=1 bash {step} &
        while :; do sleep 1; done
    """
    # Slurm looks every 30 s, so the signal for the 59th second before the limit comes up to half a minute later.
    job = submit(cluster, script, "--time=1", "--signal=USR1@59")

    def said(word: str) -> set[str]:
        return {path.stem for path in tmp_path.glob(f"*.{word}")}

    everyone = {"task", "child", "grandchild", "session", "orphan", "batch", "batch_child"}
    cluster.wait_until("all processes listen", lambda: said("ready") == everyone, 15)
    cluster.wait_until("the signal has come", lambda: bool(said("heard")), 50)
    time.sleep(1)  # for those that should not hear it
    # Whoever has lost its parent is no longer found from the step: proctrack/linuxproc goes by parents.
    assert said("heard") == {"task", "child", "grandchild", "session"}
    assert state(cluster, job) == "RUNNING"


def test_without_accounting_sacct_fails_and_squeue_remembers(make_cluster):
    plain = make_cluster(PLAIN)
    job = submit(plain, "exit 3")
    wait_for(plain, job, "FAILED")

    sacct = plain.run("sacct", f"--jobs={job}")
    assert sacct.returncode == 1
    assert "accounting storage is disabled" in sacct.stderr


def test_a_queue_outlives_its_accounting(cluster):
    cluster.stop_accounting()
    with pytest.raises(RunError, match="sacct ended with exit status 1"):
        cluster.sacct()
    job = submit(cluster, "true")
    wait_for(cluster, job, "COMPLETED")

    cluster.start_accounting()
    cluster.wait_until(
        "the job is written down",
        lambda: [row["State"] for row in cluster.sacct("-X", f"--jobs={job}")] == ["COMPLETED"],
    )


def test_clusters_side_by_side_do_not_meet(cluster, make_cluster):
    plain = make_cluster(PLAIN)
    job = submit(cluster, "sleep 100")
    wait_for(cluster, job, "RUNNING")

    assert plain.jobs() == []
    plain.restore()
    assert state(cluster, job) == "RUNNING"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_files_under(folder: Path) -> list[str]:
    """Return the files of a folder that any process holds open: whatever does so was forgotten."""
    files = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            files.append(str(link.readlink()))
    return [file for file in files if file.startswith(f"{folder}/")]


def test_nothing_is_left_after_a_stop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    with Cluster(folder) as own:
        # Its parent is gone, its session is its own, and it has no variable of whoever submitted it.
        submit(own, f"(setsid bash -c 'echo $$ > {folder}/pid; exec sleep 100' &); sleep 100", "--export=NONE")
        own.wait_until("the job runs", (folder / "pid").exists, 10)
        pids = [*own.processes(), int((folder / "pid").read_text())]
        commands = " ".join(own.processes().values())
        assert open_files_under(folder)

    for name in ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd", "sleep"):
        assert name in commands
    assert [pid for pid in pids if alive(pid)] == []
    assert open_files_under(folder) == []
    assert list((folder / "gpus").iterdir()) == []


def test_a_start_ends_what_a_killed_run_left(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    Cluster(folder, SMALL).start()
    left = Cluster(folder, SMALL)
    submit(left, "sleep 100")
    before = left.processes()
    with left:
        assert not any(alive(pid) for pid in before)
        assert left.jobs() == []
        assert submit(left, "true") == "1"


def test_a_failed_start_shows_the_logs_and_leaves_nothing(tmp_path_factory):
    broken = Cluster(
        tmp_path_factory.mktemp("own"), Shape(nodes=1, accounting=False, options={"SelectType": "select/odd"})
    )
    with pytest.raises(RunError, match=r"slurmctld \(1\)[\s\S]*select/odd"):
        broken.start()
    assert broken.processes() == {}


def test_a_folder_that_slurm_cannot_use_is_refused(tmp_path):
    for folder in (tmp_path / "a b", tmp_path / ("x" * 80)):
        with pytest.raises(ConfigurationError, match="too long or holds characters"):
            Cluster(folder)


def test_the_command_line_starts_and_stops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    command = [sys.executable, str(ROOT / "tests/support/cluster.py")]
    options = ["--folder", str(folder), "--no-accounting", "--nodes", "1"]
    started = subprocess.run([*command, "start", *options], check=True, capture_output=True, text=True, timeout=60)
    try:
        asked = f"{started.stdout}cd / && sinfo --noheader --Node --format='%N %T'"
        answered = subprocess.run(["bash", "-c", asked], check=True, capture_output=True, text=True, timeout=60)
        assert answered.stdout.split() == ["n1", "idle"]
    finally:
        subprocess.run([*command, "stop", "--folder", str(folder)], check=True, timeout=60)
    assert Cluster(folder, SMALL).processes() == {}
