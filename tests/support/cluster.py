#!/usr/bin/env python
"""A real Slurm on one machine, with several nodes and pretend GPUs, in one folder; it can run beside another Slurm.

The nodes are slurmd processes on the same host, with different names and ports. Their GPUs are device nodes that behave
like /dev/null, so that Slurm allocates them and sets CUDA_VISIBLE_DEVICES as on a real cluster. It needs root and
Debian's slurm-wlm, munge and, for accounting, slurmdbd and mariadb-server, but no systemd.

By hand:
    eval "$(python tests/support/cluster.py start --folder /tmp/slurm)"
    sinfo
    python tests/support/cluster.py stop --folder /tmp/slurm
"""

import argparse
import contextlib
import dataclasses
import os
import random
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from dnatune.errors import ConfigurationError, RunError, run_script  # noqa: E402

#: Variable in the environment of each process of a cluster; its value is <folder>/<node or daemon>.
_MARK = "DNATUNE_TEST_CLUSTER"
#: Prefixes of environment variables that belong to another Slurm.
_SLURM_VARIABLES = ("SLURM", "SBATCH", "SALLOC", "SRUN", "SQUEUE", "SACCT", "SINFO", "SCANCEL")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
_ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db")
_CLIENTS = ("sbatch", "srun", "salloc", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare")
#: Below the system's range of ephemeral ports, from which a client could take a port between check and use.
_PORTS = range(17000, 32000)
#: The path of a Unix socket has at most 107 bytes; the longest one, of a job step, adds 30 to the folder's path.
_LONGEST_FOLDER = 72
#: Long enough for a busy machine; an idle machine needs a fraction of it.
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_TAIL_LINES = 15

_JOB_COLUMNS = {
    "id": "%i",
    "name": "%j",
    "state": "%T",
    "reason": "%r",
    "node_count": "%D",
    "nodes": "%N",
    "account": "%a",
    "partition": "%P",
    "time_limit": "%l",
}
_ACCOUNTING_COLUMNS = (
    "JobID,JobName,Partition,Account,State,ExitCode,Start,End,ElapsedRaw,TimelimitRaw,"
    "NNodes,NodeList,NTasks,AllocCPUS,ReqMem,ReqTRES,AllocTRES,Comment"
)


@dataclasses.dataclass(frozen=True)
class Shape:
    """The properties of a cluster.

    Attributes:
        nodes: number of nodes, named n1, n2, ….
        gpus: pretend GPUs per node; 0 if Slurm manages no GPUs.
        cpus: cores per node; any number, because nothing is bound to cores.
        real_memory_mb: memory per node in MB; any number. A job without `--mem` takes all of it.
        accounting: whether slurmdbd and a database run, so that `sacct` works and jobs need a known account.
        accounts: accounts that root may use; the first is the default.
        partitions: options of slurm.conf for each partition; the first is the default. Each has all nodes.
        min_job_age: seconds that the controller remembers a finished job.
        requeue: default of jobs for whether they are requeued if their node is lost.
        select_type: the plugin that chooses nodes.
        select_parameters: the resources that it counts.
        options: further lines of slurm.conf, which replace lines with the same key.
    """

    nodes: int = 3
    gpus: int = 8
    cpus: int = 16
    real_memory_mb: int = 64_000
    accounting: bool = True
    accounts: tuple[str, ...] = ("dnatune",)
    partitions: Mapping[str, Mapping[str, str]] = dataclasses.field(
        default_factory=lambda: {"gpu": {"MaxTime": "1:00:00"}}
    )
    min_job_age: int = 300
    requeue: bool = True
    select_type: str = "select/cons_tres"
    select_parameters: str = "CR_CPU_Memory"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def node_names(self) -> list[str]:
        """Return the names of the nodes."""
        return [f"n{index}" for index in range(1, self.nodes + 1)]


def missing_requirements(shape: Shape) -> list[str]:
    """Return what this machine lacks to run a cluster of this shape; the list is empty if it lacks nothing."""
    programs = _PROGRAMS + (_ACCOUNTING_PROGRAMS if shape.accounting else ())
    absent = [program for program in programs if not shutil.which(program)]
    lacks = [f"{', '.join(absent)} on PATH"] if absent else []
    return lacks if os.geteuid() == 0 else [*lacks, "the rights of root"]


class Cluster:
    """One Slurm in one folder; `with` starts and stops it.

    Args:
        folder: all files of the cluster: configuration, sockets, state, database, logs. A start empties the parts
            that it writes; a stop leaves them for inspection.
        shape: the properties of the cluster.

    Raises:
        ConfigurationError: the folder's path does not fit into a Unix socket's or holds what slurm.conf cannot.
    """

    def __init__(self, folder: Path, shape: Shape | None = None):
        self.folder = Path(folder).resolve()
        self.shape = Shape() if shape is None else shape
        if len(os.fsencode(self.folder)) > _LONGEST_FOLDER or not re.fullmatch(r"[\w./+-]+", str(self.folder)):
            raise ConfigurationError(
                "the path of a cluster's folder is too long or holds characters that slurm.conf cannot",
                where=str(self.folder),
                fix=f"take one of at most {_LONGEST_FOLDER} letters, digits and ./_+-",
            )
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        """Start the cluster."""
        self.start()
        return self

    def __exit__(self, *_) -> None:
        """Stop the cluster."""
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a client: this process's, without variables of another Slurm, plus this cluster's.

        PATH begins with clients that know their cluster by themselves: the Slurm plugin takes SLURM_CONF from its jobs.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_SLURM_VARIABLES)}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    @property
    def configuration(self) -> dict[str, str]:
        """Return the keys of slurm.conf that are alone in their line, as written by the last start."""
        lines = (self.folder / "slurm.conf").read_text("utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith(("NodeName=", "PartitionName=")))

    def start(self) -> None:
        """Start without jobs or history, and return when every node is idle.

        What an earlier cluster of the folder left running is ended first.

        Raises:
            ConfigurationError: this machine cannot run such a cluster.
            RunError: a daemon did not come up; the message shows the end of the logs.
        """
        lacks = missing_requirements(self.shape)
        if lacks:
            raise ConfigurationError(
                f"this machine lacks {' and '.join(lacks)}",
                where=str(self.folder),
                fix="as root, on Debian: xargs -a .ci/packages-slurm.txt apt-get install --no-install-recommends",
            )
        self.stop()
        try:
            self._write_folder()
            self._start_munge()
            if self.shape.accounting:
                self._start_database()
                self.start_accounting()
                self._add_accounts()
            self._start_daemon("slurmctld", "slurmctld", "-D")
            self.wait_until("slurmctld answers", lambda: self.run("scontrol", "ping").returncode == 0)
            for name in self.shape.node_names:
                self.start_node(name)
            self.wait_until_idle(_READY_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon, job step and job of the cluster, and remove the pretend GPUs.

        Does no harm to a cluster that is not running, or that started only in part or in another process.
        """
        self._end_processes()
        for device in (self.folder / "gpus").glob("gpu*"):
            device.unlink()

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node; the node comes back by itself."""
        self._start_daemon(name, "slurmd", "-D", "-N", name)

    def stop_node(self, name: str) -> None:
        """Kill a node as in a power cut: its slurmd, its job steps and their processes end without any message."""
        self._end_processes(name)

    def start_accounting(self) -> None:
        """Start slurmdbd and wait until it responds."""
        self._start_daemon("slurmdbd", "slurmdbd", "-D")
        port = int(self.configuration["AccountingStoragePort"])
        self.wait_until("slurmdbd listens", lambda: _listens(socket.AF_INET, ("127.0.0.1", port)))

    def stop_accounting(self) -> None:
        """Kill slurmdbd; the database and the cluster keep running."""
        self._end_processes("slurmdbd")

    def run(self, *command: str | os.PathLike, **options) -> subprocess.CompletedProcess:
        """Run a client, such as `run("sbatch", "job.sh")`, and return its exit status and its output as text.

        Args:
            command: program and arguments.
            options: those of `subprocess.run`, laid over the client's environment and a time-out of a minute.
        """
        defaults = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60, "check": False}
        return subprocess.run([os.fspath(part) for part in command], **{**defaults, **options})

    def jobs(self, *options: str) -> list[dict[str, str]]:
        """Return one row per job: id, name, state, reason, node_count, nodes, account, partition, time_limit.

        Args:
            options: further ones of squeue; `--states=all` adds what finished within `min_job_age`.
        """
        squeue = self._answer("squeue", "--noheader", f"--format={'|'.join(_JOB_COLUMNS.values())}", *options)
        return [dict(zip(_JOB_COLUMNS, line.split("|"), strict=True)) for line in squeue.splitlines()]

    def sacct(self, *options: str) -> list[dict[str, str]]:
        """Return the accounting data, one row per job or job step, with sacct's own column names (JobID, State, …).

        Args:
            options: further ones of sacct; `--duplicates` adds the earlier runs of a requeued job.
        """
        columns = f"--format={_ACCOUNTING_COLUMNS}"
        lines = self._answer("sacct", "--allusers", "--starttime=now-1days", "--parsable2", columns, *options)
        header, *rows = lines.splitlines()
        return [dict(zip(header.split("|"), row.split("|"), strict=True)) for row in rows]

    def node_states(self) -> dict[str, str]:
        """Return the state of each node as sinfo prints it: idle, mixed, allocated, down*, …."""
        lines = self._answer("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def restore(self) -> None:
        """Start what `stop_node` and `stop_accounting` ended, end every job and wait until all nodes are idle."""
        for name in self.shape.node_names:
            if not self._find_processes(name):
                self.start_node(name)
        if self.shape.accounting and not self._find_processes("slurmdbd"):
            self.start_accounting()
        self._answer("scancel", "--user=root")
        self.wait_until("all jobs are gone", self._end_job_processes)
        self.wait_until_idle()

    def wait_until(self, what: str, condition: Callable[[], bool], timeout: float = _READY_SECONDS) -> None:
        """Wait until a condition holds; if a client fails meanwhile, the condition counts as not met.

        Args:
            what: the condition in words, for the message.
            condition: what to ask again and again.
            timeout: seconds.

        Raises:
            RunError: it does not hold in time, or a daemon ended; the message shows the end of the logs.
        """
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(RunError):
                if condition():
                    return
            ended = [
                f"{name} ({daemon.returncode})" for name, daemon in self._daemons.items() if daemon.poll() is not None
            ]
            if ended:
                raise self._failure(f"ended by themselves (exit status): {', '.join(ended)}")
            if time.monotonic() > deadline:
                raise self._failure(f"waited {timeout:.0f} s in vain until {what}")
            time.sleep(_POLL_SECONDS)

    def wait_until_idle(self, timeout: float = _READY_SECONDS) -> None:
        """Wait until no job is left and every node is idle.

        Args:
            timeout: seconds.

        Raises:
            RunError: they are not; the message shows the end of the logs.
        """
        idle = dict.fromkeys(self.shape.node_names, "idle")
        self.wait_until(
            "all nodes are idle and no job is left",
            lambda: self.node_states() == idle and not self.jobs(),
            timeout=timeout,
        )

    def processes(self) -> dict[int, str]:
        """Return the process IDs of the daemons, job steps and jobs of this cluster, each with its command line."""
        return {pid: _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() for pid in self._find_processes()}

    def _answer(self, *command: str) -> str:
        """Return the output of a client, or raise RunError with its error message."""
        done = self.run(*command)
        if done.returncode:
            raise self._failure(f"{command[0]} ended with exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _failure(self, what: str) -> RunError:
        """Return an error with the last lines of every log."""
        logs = []
        for out in sorted((self.folder / "log").glob("*.out")):
            # Slurm's daemons say it in both, with the time in the log, once they have read where that is.
            log = out.with_suffix(".log") if out.with_suffix(".log").exists() else out
            logs += [f"--- {log}", *log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]]
        return RunError(what, where=str(self.folder), fix="\n".join(["read the logs", *logs]))

    def _write_folder(self) -> None:
        for part in ("log", "munge", "database", "state", "spool", "gpus", "bin"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
            (self.folder / part).mkdir(parents=True)
        for name in self.shape.node_names:
            (self.folder / "spool" / name).mkdir()
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        for index in range(self.shape.gpus):
            os.mknod(self.folder / "gpus" / f"gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        # A job's environment is its submitter's, so the mark has to come with the job's own start.
        prolog = self.folder / "task_prolog"
        prolog.write_text(f'#!/bin/sh\necho "export {_MARK}={self.folder}/$SLURMD_NODENAME"\n', "utf-8")
        prolog.chmod(0o755)
        clients = self.folder / "bin"
        for name in _CLIENTS:
            if real := shutil.which(name):
                script = f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {real} "$@"\n'
                (clients / name).write_text(script, "utf-8")
                (clients / name).chmod(0o755)
        ports = _free_ports(self.shape.nodes + 2)
        (self.folder / "slurm.conf").write_text(self._slurm_conf(*ports), "utf-8")
        gpus = f"NodeName=n[1-{self.shape.nodes}] Name=gpu File={self.folder}/gpus/gpu[0-{self.shape.gpus - 1}]\n"
        (self.folder / "gres.conf").write_text(gpus if self.shape.gpus else "", "utf-8")
        accounting = self.folder / "slurmdbd.conf"
        accounting.touch(mode=0o600)  # slurmdbd refuses one that others may read
        accounting.write_text(self._slurmdbd_conf(ports[1]), "utf-8")

    def _slurm_conf(self, controller_port: int, accounting_port: int, *node_ports: int) -> str:
        shape, folder, host = self.shape, self.folder, socket.gethostname().split(".")[0]
        options = {
            "ClusterName": "dnatune",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": str(controller_port),
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            # A requeued job waits until its old credential has expired; two minutes by default.
            "AuthInfo": f"socket={folder}/munge/socket,cred_expire=10",
            "StateSaveLocation": f"{folder}/state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
            "SlurmdLogFile": f"{folder}/log/%n.log",
            "SlurmctldPidFile": f"{folder}/state/slurmctld.pid",
            "SlurmdPidFile": f"{folder}/spool/%n.pid",
            "TaskProlog": f"{folder}/task_prolog",
            "SlurmdParameters": "config_overrides",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "MpiDefault": "none",
            "SelectType": shape.select_type,
            "SelectTypeParameters": shape.select_parameters,
            # Jobs start within a second of their submission, of another's end or of a node's return.
            "SchedulerParameters": "sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1",
            # A node whose slurmd is gone is down after the first and twice the second: two pings run into the void.
            "SlurmdTimeout": "5",
            "MessageTimeout": "4",
            "ReturnToService": "2",
            "JobRequeue": str(int(shape.requeue)),
            "KillWait": "3",
            "InactiveLimit": "0",
            "MinJobAge": str(shape.min_job_age),
        }
        if shape.gpus:
            options["GresTypes"] = "gpu"
        if shape.accounting:
            options |= {
                "AccountingStorageType": "accounting_storage/slurmdbd",
                "AccountingStorageHost": "127.0.0.1",
                "AccountingStoragePort": str(accounting_port),
                "AccountingStoragePass": f"{folder}/munge/socket",
                "AccountingStorageEnforce": "associations",
                "AccountingStoreFlags": "job_comment",
                "JobAcctGatherType": "jobacct_gather/linux",
                "JobAcctGatherFrequency": "5",
            }
            if shape.gpus:
                options["AccountingStorageTRES"] = "gres/gpu"
        lines = [f"{key}={value}" for key, value in {**options, **shape.options}.items()]
        gres = f" Gres=gpu:{shape.gpus}" if shape.gpus else ""
        for name, port in zip(shape.node_names, node_ports, strict=True):
            lines.append(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
                f" CPUs={shape.cpus} RealMemory={shape.real_memory_mb}{gres} State=UNKNOWN"
            )
        for index, (name, settings) in enumerate(shape.partitions.items()):
            words = {"Nodes": "ALL", "Default": "NO" if index else "YES", "State": "UP", **settings}
            lines.append(f"PartitionName={name} " + " ".join(f"{key}={value}" for key, value in words.items()))
        return "\n".join(lines) + "\n"

    def _slurmdbd_conf(self, port: int) -> str:
        folder = self.folder
        options = {
            "DbdHost": "localhost",
            "DbdAddr": "127.0.0.1",
            "DbdPort": port,
            "SlurmUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/munge/socket",
            "LogFile": f"{folder}/log/slurmdbd.log",
            "PidFile": f"{folder}/state/slurmdbd.pid",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": "root",
        }
        return "".join(f"{key}={value}\n" for key, value in options.items())

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        files = [f"--{name}-file={folder / name}" for name in ("key", "log", "pid", "seed")]
        # --force: the folders above may be closed to other users, who have no business here anyway.
        self._start_daemon("munged", "munged", "--foreground", "--force", f"--socket={folder}/socket", *files)
        self.wait_until("munged listens", lambda: _listens(socket.AF_UNIX, f"{folder}/socket"))

    def _start_database(self) -> None:
        folder = self.folder / "database"
        # A database that ends with its test need not survive the machine: nothing waits for the disk.
        options = (
            "--no-defaults",
            "--user=root",
            f"--datadir={folder}/data",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--skip-innodb-doublewrite",
            "--innodb-log-file-size=16M",
        )
        self._answer("mariadb-install-db", *options, "--skip-test-db")
        own = ("--skip-networking", f"--socket={folder}/socket", f"--pid-file={folder}/pid")
        self._start_daemon("mariadbd", "mariadbd", *options, *own)
        self.wait_until("mariadbd listens", lambda: _listens(socket.AF_UNIX, f"{folder}/socket"))

    def _add_accounts(self) -> None:
        self._answer("sacctmgr", "--immediate", "add", "cluster", "dnatune")
        if self.shape.accounts:
            accounts, default = ",".join(self.shape.accounts), self.shape.accounts[0]
            self._answer("sacctmgr", "--immediate", "add", "account", accounts)
            self._answer("sacctmgr", "--immediate", "add", "user", "root", f"account={accounts}")
            self._answer("sacctmgr", "--immediate", "modify", "user", "root", "set", f"defaultaccount={default}")

    def _start_daemon(self, name: str, *command: str) -> None:
        # slurmdbd has no setting for the database's socket; the client library takes it from here.
        environment = {
            **self.environment,
            _MARK: f"{self.folder}/{name}",
            "MYSQL_UNIX_PORT": f"{self.folder}/database/socket",
        }
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def _find_processes(self, name: str | None = None) -> set[int]:
        """Return the processes of a node or daemon, or of the whole cluster, and all that descend from them."""
        mark = re.compile(rf"(?:^|\0){_MARK}={re.escape(str(self.folder))}/{'[^/]*' if name is None else name}(?:\0|$)")
        parents, found = {}, set()
        for entry in Path("/proc").glob("[0-9]*"):
            state, parent, *_ = _read(entry / "stat").rpartition(")")[2].split() or ("Z", "0")
            if state == "Z":
                continue
            parents[int(entry.name)] = int(parent)
            if mark.search(_read(entry / "environ")):
                found.add(int(entry.name))
        while descended := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= descended
        return found

    def _end_processes(self, name: str | None = None) -> None:
        # All are stopped before the first is ended: none may see another go and tell Slurm about it. More than one
        # round, as a process may start another between the look and the signal.
        stopped: set[int] = set()
        while found := self._find_processes(name) - stopped:
            for pid in found:
                _send(pid, signal.SIGSTOP)
            stopped |= found
        while found := self._find_processes(name):
            for pid in found:
                _send(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._daemons = {name: daemon for name, daemon in self._daemons.items() if daemon.poll() is None}

    def _end_job_processes(self) -> bool:
        """Kill what runs on the nodes beside Slurm itself; tell whether the queue is empty."""
        # Slurm would do it, but proctrack/linuxproc overlooks who has lost its parent, and the step waits for that one.
        for name in self.shape.node_names:
            for pid in self._find_processes(name):
                if _read(f"/proc/{pid}/comm").strip() not in ("slurmd", "slurmstepd"):
                    _send(pid, signal.SIGKILL)
        return not self.jobs()


def _free_ports(number: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses."""
    free: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            free.append(port)
        if len(free) == number:
            break
    return free


def _listens(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(address) == 0


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _read(path: Path | str) -> str:
    """Return a file of /proc, empty when its process is gone."""
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def main() -> None:
    """Start or stop a cluster by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start a cluster and print what a shell needs to use it")
    start.add_argument("--folder", type=Path, required=True, help="where it lives; emptied of an earlier cluster")
    start.add_argument("--nodes", type=int, default=Shape.nodes)
    start.add_argument("--gpus", type=int, default=Shape.gpus, help="pretend GPUs a node")
    start.add_argument("--cpus", type=int, default=Shape.cpus, help="cores a node")
    start.add_argument("--no-accounting", action="store_true", help="no slurmdbd: sacct fails, squeue works")
    stop = commands.add_parser("stop", help="end everything that runs in a cluster's folder")
    stop.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "stop":
        Cluster(arguments.folder).stop()
        return
    shape = Shape(
        nodes=arguments.nodes, gpus=arguments.gpus, cpus=arguments.cpus, accounting=not arguments.no_accounting
    )
    cluster = Cluster(arguments.folder, shape)
    cluster.start()
    for name in ("SLURM_CONF", "PATH"):
        print(f"export {name}={shlex.quote(cluster.environment[name])}")  # noqa: T201


if __name__ == "__main__":
    run_script(main)
