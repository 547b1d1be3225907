"""`make doctor` on a real Slurm: it finds what is wrong, and on a healthy cluster its site file holds the truth."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import ROOT, Cluster, Shape
from dnatune.settings import site as sites

HEALTHY = Shape(partitions={"gpu": {"MaxTime": "1:30:00"}, "last": {"Nodes": "n3"}})
#: Without accounting, without GPUs, with whole nodes, with a controller that soon forgets and jobs that cancel others.
SICK = Shape(
    nodes=1,
    gpus=0,
    accounting=False,
    min_job_age=60,
    requeue=False,
    select_type="select/linear",
    select_parameters="CR_Memory",
    partitions={"gpu": {"MaxTime": "1:00:00"}, "urgent": {"PriorityTier": "9"}},
    options={"PreemptType": "preempt/partition_prio", "PreemptMode": "CANCEL"},
)


@pytest.fixture
def cuda_torch(tmp_path) -> Path:
    """Return a folder with what doctor reads of a torch for CUDA; tests run with one for CPUs."""
    folder = tmp_path / "packages"
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "version.py").write_text("cuda: Optional[str] = '12.8'\n")
    (folder / "torch-2.13.0.dist-info").mkdir()
    (folder / "torch-2.13.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    return folder


@pytest.fixture
def run_doctor(cuda_torch, tmp_path):
    """Return a function that runs the script on a cluster, and the folder that it writes to."""

    def run(cluster: Cluster, *options: str) -> subprocess.CompletedProcess:
        environment = {**cluster.environment, "PYTHONPATH": f"{ROOT / 'workflow'}:{cuda_torch}"}
        command = [sys.executable, "-m", "dnatune", "doctor", "--write", tmp_path / "site", *options]
        done = cluster.run(*command, env=environment)
        assert "Traceback" not in done.stderr
        return done

    return run


def levels(done: subprocess.CompletedProcess) -> dict[str, str]:
    """Return the level of each finding by its subject."""
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    return {line.split(maxsplit=1)[1].split(":")[0]: line.split()[0] for line in lines}


def test_a_healthy_cluster_has_no_problem_and_its_site_file_holds_the_truth(make_cluster, run_doctor, tmp_path):
    done = run_doctor(make_cluster(HEALTHY))
    assert (done.returncode, done.stderr) == (0, "")
    assert "PROBLEM" not in done.stdout
    # Sharing, status, accounting and GPUs in particular are not merely noted.
    found = levels(done)
    assert {found[name] for name in ("accounting", "job status", "sharing of nodes", "GPUs", "account")} == {"ok"}

    site = sites.load(ROOT, {"DNATUNE_SITE": str(tmp_path / "site")})
    assert (site.gpus, site.ranks, site.cpus_per_rank, site.mem_mb, site.runtime) == (8, 8, 2, 64_000, "90m")
    chosen = {key: getattr(site.slurm, key) for key in ("account", "partition", "gpu_request")}
    assert chosen == {"account": "dnatune", "partition": "gpu", "gpu_request": "gres"}


def test_a_job_that_asks_for_what_the_site_file_says_starts(make_cluster, run_doctor, tmp_path):
    cluster = make_cluster(HEALTHY)
    assert run_doctor(cluster).returncode == 0
    site = sites.load(ROOT, {"DNATUNE_SITE": str(tmp_path / "site")})
    asked = site.resources("finetune", None, None, site.mem_mb, site.runtime)
    cores = site.cpus_per_rank * site.ranks
    done = cluster.run(
        "sbatch",
        "--parsable",
        "--output=/dev/null",
        "--wrap=true",
        f"--account={asked['slurm_account']}",
        f"--partition={asked['slurm_partition']}",
        f"--gres={asked['gres']}",
        f"--mem={asked['mem_mb']}",
        f"--cpus-per-task={cores}",
        "--time=1:30:00",
    )
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()

    def state() -> str:
        (row,) = cluster.jobs("--states=all", f"--jobs={job}")
        return row["state"]

    cluster.wait_until("the job is over", lambda: state() == "COMPLETED", 30)


def test_a_site_file_that_is_there_is_kept(make_cluster, run_doctor, tmp_path):
    cluster, path = make_cluster(HEALTHY), tmp_path / "site" / "site.yaml"
    path.parent.mkdir()
    path.write_text("nodes: 1\n")
    assert run_doctor(cluster).returncode == 0
    assert path.read_text() == "nodes: 1\n"
    assert run_doctor(cluster, "--force", "--partition", "last").returncode == 0
    assert "partition: last\n" in path.read_text()


@pytest.mark.parametrize(
    ("options", "subject", "known"),
    [(("--partition", "nowhere"), "partition", "gpu, last"), (("--account", "nobody"), "account", "dnatune")],
)
def test_an_unknown_name_is_a_problem_that_names_the_known(make_cluster, run_doctor, tmp_path, options, subject, known):
    done = run_doctor(make_cluster(HEALTHY), *options)
    assert done.returncode == 1
    assert [name for name, level in levels(done).items() if level == "PROBLEM"] == [subject]
    assert known in done.stdout.split(f"PROBLEM  {subject}:")[1].splitlines()[1]
    assert not (tmp_path / "site").exists()


def test_a_dead_accounting_database_is_noted(make_cluster, run_doctor):
    cluster = make_cluster(HEALTHY)
    cluster.stop_accounting()
    done = run_doctor(cluster)
    assert (done.returncode, levels(done)["accounting"], levels(done)["account"]) == (0, "note", "note")


def test_what_ails_a_cluster_is_found(make_cluster, run_doctor, tmp_path):
    done = run_doctor(make_cluster(SICK))
    found = levels(done)
    assert done.returncode == 1
    assert {name for name, level in found.items() if level == "PROBLEM"} == {"job status", "GPUs", "preemption"}
    assert (found["accounting"], found["sharing of nodes"]) == ("note", "note")
    assert "MinJobAge is 60 s" in done.stdout
    assert "GresTypes does not name gpu" in done.stdout
    assert "--partition: urgent" in done.stdout
    # What works in spite of it is written.
    site = sites.load(ROOT, {"DNATUNE_SITE": str(tmp_path / "site")})
    assert (site.gpus, site.ranks, site.cpus_per_rank, site.slurm.gpu_request) == (0, 2, 8, "none")


def test_a_controller_that_does_not_answer_is_found(make_cluster, run_doctor, tmp_path):
    cluster = make_cluster(SICK)
    elsewhere = tmp_path / "slurm.conf"
    port = cluster.configuration["SlurmctldPort"]
    elsewhere.write_text(
        (cluster.folder / "slurm.conf").read_text().replace(f"SlurmctldPort={port}", "SlurmctldPort=1")
    )
    (tmp_path / "gres.conf").touch()
    # Straight to the clients of the system: the cluster's own know their configuration by themselves.
    path = cluster.environment["PATH"].split(":", 1)[1]
    environment = {**cluster.environment, "PATH": path, "SLURM_CONF": str(elsewhere)}
    done = cluster.run(sys.executable, "-m", "dnatune", "doctor", "--write", tmp_path / "site", env=environment)
    assert (done.returncode, done.stderr, levels(done)["controller"]) == (1, "", "PROBLEM")
    assert not (tmp_path / "site").exists()
