"""Ranks start, meet and fail with the message of the first to fail."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnatune import errors, outcomes
from dnatune.errors import ModelError, RunError
from dnatune.launch import launcher as launching
from dnatune.launch import process_group
from samples import ROOT
from slurm_programs import program

PREAMBLE = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "workflow")!r})
from dnatune.errors import ModelError, run_script
rank = int(os.environ["RANK"])
"""

#: A rank writes down its process number, ended by a full stop, and waits.
NOTED = "import time\nwith open({}, 'w') as file:\n    file.write(str(os.getpid()) + '.')\ntime.sleep(60)\n"


def script(tmp_path, body):
    path = tmp_path / "rank.py"
    path.write_text(PREAMBLE + body)
    return path


def launch(path, ranks):
    command = [sys.executable, "-m", "dnatune", "launch", "--ranks", str(ranks), path]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_first_failure_is_told_once_with_its_exit_status(tmp_path):
    done = launch(
        script(
            tmp_path,
            """
def main():
    if rank == 1:
        raise ModelError("the model is odd", where="model/", fix="take another")
    import time
    time.sleep(60)
run_script(main)
""",
        ),
        2,
    )
    assert done.returncode == ModelError.exit_status
    assert done.stderr.count("the model is odd") == 1
    assert "where: model/" in done.stderr and "to do: take another" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_rank_is_told(tmp_path):
    done = launch(script(tmp_path, "import signal\nos.kill(os.getpid(), signal.SIGKILL)\n"), 1)
    assert done.returncode == RunError.exit_status
    assert "ended by signal 9" in done.stderr and "Traceback" not in done.stderr


def test_a_launcher_that_is_told_to_end_takes_its_ranks_along(tmp_path):
    body = NOTED.format(repr(str(tmp_path / "pid")))
    command = [sys.executable, "-m", "dnatune", "launch", "--ranks", "1", script(tmp_path, body)]
    launcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    process = number_in(tmp_path / "pid")
    launcher.terminate()
    said = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == RunError.exit_status
    assert "told to end by signal 15" in said and "Traceback" not in said
    assert ended(process)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def number_in(path):
    """Return the process number that is written to a file, once it is there."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith(".")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(path.read_text().rstrip("."))


def ended(process):
    """Tell whether a process has ended; nobody may have asked for its exit status yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def assert_ends(process):
    deadline = time.monotonic() + 5
    while not ended(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends them")
def test_ranks_end_with_a_launcher_that_is_killed(tmp_path):
    """Its lock counts as free from then on."""
    body = "from dnatune.launch import process_group as ranks\nranks.join_scorers()\n" + NOTED.format(
        repr(str(tmp_path / "pid"))
    )
    command = [sys.executable, "-m", "dnatune", "launch", "--ranks", "1", script(tmp_path, body)]
    launcher = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    process = number_in(tmp_path / "pid")
    launcher.kill()
    launcher.wait()
    assert_ends(process)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends it")
def test_srun_ends_with_a_launcher_that_is_killed(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "srun", f"printf '%s.' $$ > {tmp_path}/pid\nexec sleep 60")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    command = [sys.executable, "-m", "dnatune", "launch", "--nodes", "2", "--ranks", "1"]
    launcher = subprocess.Popen([*command, "--state", tmp_path / "state", "finetune"], stderr=subprocess.DEVNULL)
    process = number_in(tmp_path / "pid")
    launcher.kill()
    launcher.wait()
    assert_ends(process)


#: An srun that hands USR1 on to the ranks, as Slurm's does: they save, and leave word of it. A shell could not act on a
#: signal that it was started without.
_SRUN = f"""exec {sys.executable} -c '
import os, shutil, signal, sys
def save(*_):
    shutil.copy("{{folder}}/saved.json", "{{folder}}/state/outcome.json")
    sys.exit(0)
signal.signal(signal.SIGUSR1, save)
open("{{folder}}/pid", "w").write(f"{{{{os.getpid()}}}}.")
signal.pause()
'"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launcher_of_several_nodes_that_is_told_to_end_saves_and_takes_all_along(tmp_path, monkeypatch, number):
    program(tmp_path, monkeypatch, "srun", _SRUN.format(folder=tmp_path))
    program(tmp_path, monkeypatch, "scontrol", f"touch {tmp_path}/requeued")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    outcomes.write(tmp_path / "saved.json", errors.Interrupted("saved", step=12))
    command = [sys.executable, "-m", "dnatune", "launch", "--nodes", "2", "--ranks", "1"]
    command += ["--state", tmp_path / "state", "finetune"]
    launcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    process = number_in(tmp_path / "pid")
    launcher.send_signal(number)
    said = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == RunError.exit_status and ended(process)
    assert f"told to end by signal {int(number)}" in said and "the run is saved at step 12" in said
    # Whoever ended it does not want it back, and the next one finds no lock.
    assert not (tmp_path / "requeued").exists() and not (tmp_path / "state").exists()


def test_nodes_that_do_not_end_by_themselves_are_ended(tmp_path, monkeypatch):
    program(
        tmp_path, monkeypatch, "srun", f"trap '' USR1; printf '%s.' $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    )
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    code = (
        "from pathlib import Path; from dnatune.launch import launcher; launcher._SAVE_SECONDS = 0.5;"
        f"launcher.start_nodes([], 2, 1, Path({str(tmp_path)!r}))"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    process = number_in(tmp_path / "pid")
    launcher.terminate()
    assert "RunError: told to end by signal 15" in launcher.communicate(timeout=60)[1]
    assert ended(process)


def test_an_exit_status_is_passed_on(tmp_path):
    done = launch(script(tmp_path, "sys.exit(77)\n"), 1)
    assert done.returncode == 77


def test_every_rank_runs_with_its_place(tmp_path):
    body = f"open({str(tmp_path)!r} + f'/{{rank}}-of-' + os.environ['WORLD_SIZE'], 'w').close()\n"
    assert launch(script(tmp_path, body), 3).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*-of-*")) == ["0-of-3", "1-of-3", "2-of-3"]


def test_a_process_that_another_launcher_started_is_told_how(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "DNATUNE_LAUNCHER": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="not started as a rank") as caught:
        process_group.join(10)
    assert "dnatune launch" in caught.value.fix


def test_variables_of_another_launcher_neither_divide_the_work_nor_take_the_message(monkeypatch, tmp_path, capsys):
    foreign = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    taken = tmp_path / "taken.json"
    for name, value in {**foreign, "TORCHELASTIC_ERROR_FILE": taken, "DNATUNE_OUTCOME_FILE": taken}.items():
        monkeypatch.setenv(name, str(value))
    assert process_group.join_scorers() == process_group.Rank(0, 1, process_group.join_scorers().device)
    assert process_group.is_first()

    def fails():
        raise ModelError("the model is odd")

    with pytest.raises(SystemExit):
        errors.run_script(fails)
    assert "the model is odd" in capsys.readouterr().err and not taken.exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0", "DNATUNE_DEVICE": "cpu"}, False),
        ({"CUDA_VISIBLE_DEVICES": ""}, False),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, False),
    ],
)
def test_gpus_that_torch_cannot_use_are_not_passed_over(monkeypatch, environment, expected):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("CUDA_VISIBLE_DEVICES", "DNATUNE_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if expected is None:
        with pytest.raises(RunError, match=r"given the GPUs [01,]+(?s:.*)TORCH_INDEX"):
            process_group.sees_gpu()
    else:
        assert process_group.sees_gpu() is expected


@pytest.mark.parametrize("cpus", [None, 8])
def test_the_ranks_of_a_job_share_its_cores(monkeypatch, tmp_path, cpus):
    """Snakemake gives each process of a job the threads of all."""
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    script = tmp_path / "script.py"
    script.write_text(
        f"{PREAMBLE}\nopen(sys.argv[1] + str(rank), 'w').write(' '.join(os.environ[n] for n in "
        "('OMP_NUM_THREADS', 'MKL_NUM_THREADS')))\n"
    )
    launching.start_ranks([str(script), str(tmp_path / "found")], 2, cpus)
    each = str(max(1, (cpus or len(os.sched_getaffinity(0))) // 2))
    assert [(tmp_path / f"found{rank}").read_text() for rank in (0, 1)] == [f"{each} {each}"] * 2


def test_a_rank_that_tells_its_failure_is_believed_before_a_peer_that_lost_it():
    odd = ModelError("the model is odd")
    with pytest.raises(ModelError, match="odd"):
        # It was still ending when its peer had ended already.
        launching._raise_first([(0, None, (odd, 5.0)), (1, 1, None)])
    with pytest.raises(RunError, match="rank 1 was ended by signal 9"):
        launching._raise_first([(0, 1, None), (1, -9, None)])
    saved = errors.Interrupted("saved", step=7)
    with pytest.raises(errors.Interrupted):
        launching._raise_first([(0, 0, (saved, 5.0)), (1, 0, (saved, 5.1))])
    with pytest.raises(ModelError):
        launching._raise_first([(0, 0, (saved, 5.0)), (1, 4, (odd, 6.0))])
    launching._raise_first([(0, 0, None), (1, 0, None)])


def test_ranks_that_have_not_met_are_told_what_meets(tmp_path, monkeypatch):
    """Nobody listens at the address; the interface of the ranks' traffic has no part in it."""
    body = """
from dnatune.launch import process_group as ranks
ranks._MEETING_SECONDS = 1
run_script(ranks.join_scorers)
"""
    node = launching.Node(1, 2, "127.0.0.1", free_port(), "77")
    monkeypatch.setenv(process_group.MEETING_SECRET, "secret")
    with pytest.raises(RunError, match="rank 1 of 2 has not met the others") as caught:
        launching.start_ranks([str(script(tmp_path, body))], 1, 1, node)
    assert caught.value.where == f"127.0.0.1:{node.port}"
    assert "NodeAddr" in caught.value.fix and "network_interface" not in caught.value.fix
