"""Nothing that ranks listen on can be reached from another machine, and nothing that a stranger sends is unpickled."""

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnatune.launch import process_group
from open_ports import listening
from samples import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets are read from /proc")

PREAMBLE = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT / "workflow")!r})
from pathlib import Path
from dnatune.launch import process_group as ranks
from dnatune.errors import run_script
"""

#: Ranks meet, exchange, tell that they are there, and go on exchanging until they are told to end.
TALK = """
def main():
    rank = ranks.{join}
    folder = Path(sys.argv[1])
    assert ranks.exchange([rank.index], rank) == [[0], [1]]
    (folder / f"here{{rank.index}}").touch()
    while not ranks.first_says((folder / "end").exists(), rank):
        time.sleep(0.05)
    import torch
    from torch import distributed
    distributed.barrier()
    (folder / f"done{{rank.index}}").touch()
    distributed.destroy_process_group()
run_script(main)
"""


def wait_for(*paths):
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.05)


def start(tmp_path, body, *options, environment=None):
    path = tmp_path / "rank.py"
    path.write_text(PREAMBLE + body)
    command = [sys.executable, "-m", "dnatune", "launch", *options, path, tmp_path]
    return subprocess.Popen(command, env={**os.environ, **(environment or {})}, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("join", ["join(60)", "join_scorers()"])
def test_a_run_of_one_machine_listens_on_the_loopback_interface_alone(tmp_path, join):
    """Even where the site names another interface, and whatever the machine's name resolves to."""
    launcher = start(tmp_path, TALK.format(join=join), "--ranks", "2", environment={"GLOO_SOCKET_IFNAME": "eth0"})
    wait_for(tmp_path / "here0", tmp_path / "here1")
    addresses = {address for address, _ in listening(launcher.pid)}
    (tmp_path / "end").touch()
    assert launcher.wait(60) == 0, launcher.stderr.read()
    # gloo's own sockets are there, so the scan has eyes.
    assert addresses == {"127.0.0.1"}


class Trap:
    """An object that, when it is unpickled, makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_store_of_several_nodes_listens_at_one_address_and_nobody_unpickles_what_a_stranger_writes(
    tmp_path, monkeypatch
):
    """Two launchers as on two nodes; a stranger floods every key of the store with a pickle that would run code."""
    from torch.distributed import TCPStore

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv(process_group.MEETING_SECRET, "0123456789abcdef")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    path = tmp_path / "rank.py"
    path.write_text(PREAMBLE + TALK.format(join="join(60)"))
    body = (
        "import sys; sys.path.insert(0, {!r})\nfrom dnatune.launch import launcher as launching\n"
        "launching.start_ranks([{!r}, {!r}], 1, 1, launching.Node({}, 2, '127.0.0.1', {}, '77'))\n"
    )
    nodes = [
        subprocess.Popen(
            [sys.executable, "-c", body.format(str(ROOT / "workflow"), str(path), str(tmp_path), index, port)]
        )
        for index in (0, 1)
    ]
    try:
        stranger = TCPStore("127.0.0.1", port, 2, is_master=False)
        trap = pickle.dumps(Trap(tmp_path / "trapped"))
        # What torch's elastic agents unpickled once, and then whatever the ranks have written themselves.
        stranger.set("torch.rendezvous.dnatune-77", trap)
        wait_for(tmp_path / "here0", tmp_path / "here1")
        written = [name for name in stranger.list_keys() if name.startswith("0123456789abcdef/")]
        for name in written:
            stranger.set(name, trap)
        assert len(written) >= 2
        at = {address for address, _ in listening(nodes[0].pid) | listening(nodes[1].pid)}
        (tmp_path / "end").touch()
        assert [node.wait(60) for node in nodes] == [0, 0]
        assert at == {"127.0.0.1"}
        assert (tmp_path / "done0").exists() and not (tmp_path / "trapped").exists()
        pickle.loads(trap)  # noqa: S301, the trap itself works
        assert (tmp_path / "trapped").exists()
    finally:
        for node in nodes:
            node.kill()


def test_a_collective_operation_that_would_unpickle_is_refused(tmp_path):
    body = """
def main():
    rank = ranks.join_scorers()
    from torch import distributed
    found = [None, None]
    distributed.all_gather_object(found, {"a": 1})
run_script(main)
"""
    launcher = start(tmp_path, body, "--ranks", "2")
    said = launcher.communicate(timeout=60)[1]
    assert launcher.returncode != 0
    assert "tried to unpickle" in said


def test_what_ranks_exchange_arrives_as_it_was(tmp_path):
    """Texts of unequal length, and numbers to the last bit."""
    body = """
import json
VALUES = [{"text": "kurz"}, {"text": "длинный " * 40, "number": 0.1 + 0.2, "none": None}]
def main():
    rank = ranks.join_scorers()
    found = ranks.exchange(VALUES[rank.index], rank)
    gathered = ranks.gather([rank.index, rank.index + 2], [1 / 3 + rank.index, "x"], rank)
    Path(sys.argv[1], f"found{rank.index}.json").write_text(json.dumps([found == VALUES, gathered]))
run_script(main)
"""
    launcher = start(tmp_path, body, "--ranks", "2")
    assert launcher.wait(60) == 0, launcher.stderr.read()
    found = [json.loads((tmp_path / f"found{index}.json").read_text()) for index in (0, 1)]
    assert found == [[True, [1 / 3, 1 / 3 + 1, "x", "x"]], [True, None]]


@pytest.mark.skipif(
    subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False).returncode != 0,
    reason="only root may give the machine another name",
)
def test_ranks_of_a_machine_whose_name_has_no_address_meet(tmp_path):
    path = tmp_path / "rank.py"
    path.write_text(PREAMBLE + TALK.format(join="join(60)"))
    (tmp_path / "end").touch()
    command = f"hostname nowhere.invalid && exec {sys.executable} -m dnatune launch --ranks 2 {path} {tmp_path}"
    done = subprocess.run(
        ["unshare", "--uts", "sh", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
