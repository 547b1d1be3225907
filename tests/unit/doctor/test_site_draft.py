"""The site file that doctor drafts: its values from the cluster, and when it is not written."""

import pytest
import yaml

from dnatune.doctor import site_draft, slurm_output
from dnatune.doctor.findings import Level
from dnatune.settings import site as sites
from dnatune.settings.site_file import SiteFile
from samples import ROOT
from slurm_samples import NODES, PARTITIONS


def test_the_site_file_holds_the_smallest_node_with_gpus(tmp_path):
    partitions, nodes = slurm_output.partitions_of(PARTITIONS), slurm_output.nodes_of(NODES)
    path = tmp_path / "site.yaml"
    gpu = site_draft.slurm_site(partitions[2], nodes, "12345", None)
    assert site_draft.write_site(gpu, path, ROOT, False).level is Level.OK
    site = sites.load(ROOT, {"DNATUNE_SITE": str(path)})
    assert (site.gpus, site.ranks, site.cpus_per_rank, site.mem_mb, site.runtime) == (4, 4, 4, 64_000, "90m")
    # An account may be a number; if nodes have two types of GPUs, jobs must not ask for a type.
    assert site.slurm.account == "12345"
    assert site.slurm.gpu_type is None
    assert site.rules["evaluate"].mem_mb == 48_000

    long = yaml.safe_load(site_draft.slurm_site(partitions[1], nodes[1:], None, "ib0"))
    assert (long["mem_mb"], long["cpus_per_rank"], long["runtime"]) == (32_000, 2, "12h")
    assert long["slurm"] == {"partition": "long", "gpu_request": "gres", "gpu_type": "a100"}

    cpu = site_draft.slurm_site(partitions[0], nodes, None, None)
    assert site_draft.write_site(cpu, path, ROOT, True).level is Level.OK
    site = sites.load(ROOT, {"DNATUNE_SITE": str(path)})
    assert (site.gpus, site.ranks, site.cpus_per_rank, site.mem_mb) == (0, 2, 16, 60_000)
    assert site.slurm.gpu_request == "none"


@pytest.mark.parametrize(
    ("limit", "runtime", "signal"), [("00:06:00", "6m", 60), ("00:09:30", "9m", 240), ("00:10:00", "10m", 300)]
)
def test_where_jobs_are_short_the_signal_comes_later(tmp_path, limit, runtime, signal):
    partition = slurm_output.partitions_of(PARTITIONS.replace("MaxTime=01:30:00", f"MaxTime={limit}"))[2]
    path = tmp_path / "site.yaml"
    content = site_draft.slurm_site(partition, slurm_output.nodes_of(NODES), None, None)
    assert site_draft.write_site(content, path, ROOT, False).level is Level.OK
    site = sites.load(ROOT, {"DNATUNE_SITE": str(path)})
    assert (site.runtime, site.slurm.signal_seconds) == (runtime, signal)


@pytest.mark.parametrize(("limit", "word"), [("00:05:00", "5m"), ("00:00:30", "'0h'")])
def test_a_partition_in_which_no_run_could_be_saved_is_a_problem(tmp_path, limit, word):
    partition = slurm_output.partitions_of(PARTITIONS.replace("MaxTime=01:30:00", f"MaxTime={limit}"))[2]
    content = site_draft.slurm_site(partition, slurm_output.nodes_of(NODES), None, None)
    finding = site_draft.write_site(content, tmp_path / "site.yaml", ROOT, False)
    assert finding.level is Level.PROBLEM and word in finding.what
    assert [*tmp_path.iterdir()] == []


def test_every_key_that_the_site_file_suggests_exists():
    partitions, nodes = slurm_output.partitions_of(PARTITIONS), slurm_output.nodes_of(NODES)
    text = site_draft.slurm_site(partitions[2], nodes, None, "ib0")
    suggested = text.replace("  # ", "  ").replace(site_draft.UNKNOWN_KEYS.replace("  # ", "  ") + "\n", "")
    slurm = SiteFile.read(yaml.safe_load(suggested), "site:").slurm.plain()
    assert {"account", "qos", "gpu_type", "every_job_needs_gpu", "modules", "network_interface", "scratch"} <= {*slurm}


def test_a_site_file_that_is_there_is_kept_unless_forced(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("nodes: 1\n# mine\n")
    content = site_draft.machine_site(0, 8000)
    assert site_draft.write_site(content, path, ROOT, False).level is Level.NOTE
    assert path.read_text() == "nodes: 1\n# mine\n"
    assert site_draft.write_site(content, path, ROOT, True).level is Level.OK
    assert path.read_text() == content

    path.write_text("noodles: 1\n")
    wrong = site_draft.write_site(content, path, ROOT, False)
    assert wrong.level is Level.PROBLEM
    assert "noodles" in wrong.what


def test_a_site_file_that_the_workflow_would_refuse_is_not_written(tmp_path):
    path = tmp_path / "site.yaml"
    refused = site_draft.write_site("gpus_per_node: 4\nranks_per_node: 8\n", path, ROOT, False)
    assert refused.level is Level.PROBLEM
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").touch()
    assert site_draft.write_site("nodes: 1\n", tmp_path / "file" / "site.yaml", ROOT, False).level is Level.PROBLEM
