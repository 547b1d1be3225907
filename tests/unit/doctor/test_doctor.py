"""Doctor parses and checks the output of several versions of Slurm; no program can make it fail."""

import sys
from pathlib import Path

import pytest
import yaml

from dnatune import doctor
from dnatune.doctor import machine, site_draft, slurm, slurm_output
from dnatune.doctor.command import Output, run_program
from dnatune.doctor.findings import Finding, Level
from dnatune.doctor.slurm_output import Node, Partition
from dnatune.launch import launcher
from dnatune.settings import site as sites
from samples import ROOT
from slurm_samples import (
    CONFIG_22,
    CONFIG_25,
    MISSING,
    NODES,
    NVIDIA_SMI,
    PARTITIONS,
    REFUSED,
    SUCCESS,
    cluster_says,
    findings_by_subject,
)

APPTAINER = Output(0, "apptainer version 1.4.5\n")


def test_a_program_that_runs_containers_is_named():
    found = [machine.container_finding(outputs) for outputs in ([APPTAINER, MISSING], [MISSING, APPTAINER])]
    assert [str(finding) for finding in found] == ["ok       containers: apptainer version 1.4.5"] * 2
    missing = machine.container_finding([MISSING, MISSING])
    assert missing.level is Level.OK and "--sdm apptainer" in missing.what
    findings, _ = doctor.examine(ROOT, cluster_says({"apptainer --version": APPTAINER}))
    assert findings_by_subject(findings)["containers"].what == APPTAINER.stdout.strip()


def test_settings_are_read_from_old_and_new_versions():
    old, new = slurm_output.settings_of(CONFIG_22), slurm_output.settings_of(CONFIG_25)
    assert (old["MinJobAge"], old["GresTypes"], old["SelectType"]) == ("300 sec", "gpu", "select/cons_tres")
    assert (old["SlurmctldHost"], old["PowerPlugin"]) == ("vm(127.0.0.1)", "")
    assert (new["GresTypes"], new["AccountingStorageType"], new["JobRequeue"]) == ("", "", "0")
    assert slurm.has_accounting(old)
    assert not slurm.has_accounting(new)
    assert not slurm.has_accounting({"AccountingStorageType": "accounting_storage/none"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("300 sec", 300), ("3600", 3600), ("1h", 3600), ("5 min", 300), ("", None), ("N/A", None)]
)
def test_periods_have_units(text, seconds):
    assert slurm_output.seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("01:30:00", 90),
        ("3-00:00:00", 3 * 1440),
        ("2-12:00", 2 * 1440 + 720),
        ("30:00", 30),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_time_limits_are_read_in_every_form(text, minutes):
    assert slurm_output.minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:8", {"": 8}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:v100:8,nvme:1", {"v100": 8}),
        ("(null)", {}),
        ("", {}),
        ("gpu", {"": 1}),
        ("gpu:a100", {"a100": 1}),
        # A comma inside the brackets separates sockets, not resources.
        ("gpu:tesla:2(S:0,2),gpu:a100:1(S:1)", {"tesla": 2, "a100": 1}),
        ("gpu:1g.5gb:7", {"1g.5gb": 7}),
        ("gpu:no_consume:4", {"": 4}),
        ("nvme:1,shard:32,mygpu:3", {}),
        ("gpu:0", {}),
    ],
)
def test_gres_is_read_in_every_form(gres, gpus):
    assert slurm_output.gpus_of(gres) == gpus


def test_nodes_are_read_without_what_the_system_keeps():
    first, second, third = slurm_output.nodes_of(NODES)
    assert first == Node(("gpu", "long"), 16, 64_000, {"": 8}, True)
    # 24 cores less 2; its reason repeats keys with other values.
    assert second == Node(("gpu", "long"), 22, 64_000, {"a100": 4}, False)
    assert third == Node(("cpu",), 32, 60_000, {}, True)


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("MIXED", True),
        ("ALLOCATED", True),
        ("IDLE+CLOUD", True),
        ("IDLE+DYNAMIC_NORM", True),
        ("IDLE*", False),
        ("DOWN", False),
        ("MIXED+DRAIN", False),
        ("IDLE+MAINTENANCE", False),
    ],
)
def test_a_node_is_in_service_or_not(state, usable):
    (node,) = slurm_output.nodes_of(f"NodeName=n1 CPUTot=4 RealMemory=10 State={state} Partitions=gpu")
    assert node.usable is usable
    assert node.cpus == 4


def test_partitions_are_read_with_their_limits():
    cpu, long, gpu = slurm_output.partitions_of(PARTITIONS)
    assert cpu == Partition("cpu", True, True, None, None, None, None, frozenset(), 1, "")
    assert (long.minutes, long.cpus, long.mem_mb) == (3 * 1440, 8, 32_000)
    # Slurm keeps accounts in lower case.
    assert [long.admits(name) for name in ("group", "Other", "guests", None)] == [True, True, False, True]
    assert [gpu.admits(name) for name in ("group", "Guests")] == [True, False]


@pytest.mark.parametrize(
    ("output", "version"),
    [("slurm-wlm 22.05.8\n", "22.05.8"), ("slurm 25.11.4\n", "25.11.4"), ("slurm 24.05.0-0rc1\n", "24.05.0")],
)
def test_the_version_is_read(output, version):
    assert slurm.version_finding(Output(0, output)).what == version


@pytest.mark.parametrize(
    ("age", "storage", "sacct", "level", "advice"),
    [
        ("300 sec", "slurmdbd", SUCCESS, Level.OK, None),
        ("300 sec", "none", REFUSED, Level.OK, None),
        # The plugin uses squeue and eventually polls every 180 s, so two minutes of memory are not enough.
        ("120 sec", "slurmdbd", SUCCESS, Level.PROBLEM, "--slurm-status-command sacct"),
        ("120 sec", "none", REFUSED, Level.PROBLEM, "MinJobAge=240"),
        # Below 45 s the plugin uses sacct, even if sacct does not work.
        ("10 sec", "slurmdbd", SUCCESS, Level.NOTE, None),
        ("10 sec", "slurmdbd", REFUSED, Level.PROBLEM, "MinJobAge=240"),
        ("10 sec", "none", REFUSED, Level.PROBLEM, "MinJobAge=240"),
        ("", "slurmdbd", SUCCESS, Level.NOTE, None),
        ("", "none", REFUSED, Level.PROBLEM, "MinJobAge=240"),
    ],
)
def test_whether_a_jobs_end_is_noticed_depends_on_what_is_asked(age, storage, sacct, level, advice):
    settings = {"MinJobAge": age, "AccountingStorageType": f"accounting_storage/{storage}"}
    finding = slurm.memory_of_jobs_finding(settings, sacct)
    assert finding.level is level
    assert advice in finding.fix if advice else not finding.fix


def test_the_traps_in_the_documentation_name_what_the_code_wants():
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    assert f"raises MinJobAge to {slurm._SQUEUE_RELIABLE} s or more" in page
    assert "PreemptMode=CANCEL" in page
    first, last = launcher._FIRST_PORT, launcher._FIRST_PORT + launcher._PORTS - 1
    (unmet,) = [row for row in page.splitlines() if row.startswith("| `rank … of … has not met the others`")]
    # Ranks meet at the address that Slurm has for a node; the network interface matters only later.
    assert f"`NodeAddr` (`scontrol show node`) at the TCP ports {first} to {last}" in unmet


def test_accounting_is_judged():
    on, off = slurm_output.settings_of(CONFIG_22), slurm_output.settings_of(CONFIG_25)
    assert slurm.accounting_finding(on, SUCCESS, SUCCESS).level is Level.OK
    assert slurm.accounting_finding(off, REFUSED, REFUSED).level is Level.NOTE
    down = slurm.accounting_finding(on, REFUSED, REFUSED)
    assert down.level is Level.NOTE
    assert "Problem talking to the database: refused" in down.what
    # The Slurm plugin calls both programs and expects them to exist, with or without accounting.
    for settings in (on, off):
        absent = slurm.accounting_finding(settings, SUCCESS, MISSING)
        assert absent.level is Level.PROBLEM
        assert "sacctmgr" in absent.what and "sacct " not in absent.what


def test_whole_nodes_and_requeueing_are_judged():
    assert slurm.sharing_finding(slurm_output.settings_of(CONFIG_22)).level is Level.OK
    assert slurm.sharing_finding({"SelectType": "select/cons_res"}).level is Level.OK
    assert slurm.sharing_finding(slurm_output.settings_of(CONFIG_25)).level is Level.NOTE
    assert slurm.requeue_finding(slurm_output.settings_of(CONFIG_22)).what == "on"
    assert "--requeue" in slurm.requeue_finding(slurm_output.settings_of(CONFIG_25)).what


#: Name, preempted QOS and PreemptMode of each QOS, as sacctmgr lists them.
QOS = Output(0, "normal||cluster\nstandby||cancel\nurgent|standby|cluster\n")


@pytest.mark.parametrize(
    ("kind", "mode", "own", "qos", "level", "words"),
    [
        ("none", "OFF", "OFF", QOS, Level.OK, []),
        # Without preemption, the mode does not matter.
        ("none", "CANCEL", "CANCEL", QOS, Level.OK, []),
        ("partition_prio", "REQUEUE", "REQUEUE", QOS, Level.OK, ["REQUEUE"]),
        ("partition_prio", "CANCEL", "CANCEL", QOS, Level.PROBLEM, ["'long'", "--partition: cpu, gpu"]),
        ("partition_prio", "GANG,SUSPEND", "CANCEL", QOS, Level.PROBLEM, ["'long'"]),
        # A partition's own mode overrides the cluster's.
        ("partition_prio", "CANCEL", "REQUEUE", QOS, Level.OK, ["REQUEUE"]),
        ("partition_prio", "CANCEL", "", QOS, Level.PROBLEM, ["'long'"]),
        # A partition's mode counts only for preemption by partition; each QOS has its own mode.
        ("qos", "REQUEUE", "CANCEL", QOS, Level.NOTE, ["QOS standby", "slurm.qos in the site: normal, urgent"]),
        ("qos", "CANCEL", "REQUEUE", Output(0, "normal||cluster\n"), Level.OK, []),
        ("qos", "CANCEL", "REQUEUE", Output(0, "normal|normal|cluster\n"), Level.PROBLEM, ["every QOS"]),
        ("qos", "CANCEL", "REQUEUE", REFUSED, Level.PROBLEM, ["PreemptMode=REQUEUE"]),
        ("qos", "REQUEUE", "CANCEL", REFUSED, Level.OK, []),
    ],
)
def test_a_job_that_preemption_cancels_would_be_waited_for(kind, mode, own, qos, level, words):
    text = PARTITIONS.replace("PartitionName=gpu", "PartitionName=gpu PriorityTier=9")
    partitions = slurm_output.partitions_of(text.replace("PartitionName=long", f"PartitionName=long PreemptMode={own}"))
    settings = {"PreemptType": f"preempt/{kind}", "PreemptMode": mode}
    finding = slurm.preemption_finding(settings, partitions, slurm_output.nodes_of(NODES), partitions[1], qos)
    assert finding.level is level, finding
    assert all(word in str(finding) for word in words), finding


def test_a_partition_whose_nodes_no_higher_one_has_is_not_preempted():
    partitions = slurm_output.partitions_of(PARTITIONS.replace("PartitionName=gpu", "PartitionName=gpu PriorityTier=9"))
    settings = {"PreemptType": "preempt/partition_prio", "PreemptMode": "CANCEL"}
    for chosen, level in zip(partitions, (Level.OK, Level.PROBLEM, Level.OK), strict=True):
        finding = slurm.preemption_finding(settings, partitions, slurm_output.nodes_of(NODES), chosen, MISSING)
        assert finding.level is level, chosen.name


def test_doctor_asks_of_preemption():
    config = CONFIG_22 + "PreemptMode             = CANCEL\nPreemptType             = preempt/partition_prio\n"
    partitions = PARTITIONS.replace("PartitionName=long", "PartitionName=long PriorityTier=9")
    changes = {
        "scontrol show config": Output(0, config),
        "scontrol --oneliner show partition": Output(0, partitions),
    }
    findings, content = doctor.examine(ROOT, cluster_says(changes), "gpu")
    assert findings_by_subject(findings)["preemption"].level is Level.PROBLEM
    assert content is not None
    findings, _ = doctor.examine(ROOT, cluster_says(), "gpu")
    assert findings_by_subject(findings)["preemption"].level is Level.OK


def test_a_cluster_without_gpus_is_told_what_is_missing():
    nodes = slurm_output.nodes_of(NODES)
    found = slurm.gpus_finding({"GresTypes": "gpu,nvme"}, nodes)
    assert (found.level, found.what) == (Level.OK, "on 2 of 3 nodes (no type, a100), requested with --gres=gpu")
    assert "does not name gpu" in slurm.gpus_finding({"GresTypes": ""}, nodes[2:]).what
    assert "no node has one" in slurm.gpus_finding({"GresTypes": "nvme,gpu"}, nodes[2:]).what
    assert slurm.gpus_finding({}, []).level is Level.PROBLEM


def test_a_partition_with_gpus_that_the_account_may_use_is_chosen():
    partitions, nodes = slurm_output.partitions_of(PARTITIONS), slurm_output.nodes_of(NODES)

    def chosen(account: str | None = None, asked: str | None = None) -> tuple[str | None, Level]:
        partition, finding = slurm.choose_partition(partitions, nodes, account, asked)
        return partition and partition.name, finding.level

    # The default partition has no GPUs. `long` comes first; not every account may use `long` or `gpu`.
    assert chosen("other") == ("long", Level.OK)
    assert chosen("genomics") == ("gpu", Level.OK)
    assert chosen("guests") == ("cpu", Level.NOTE)
    assert chosen("genomics", "cpu") == ("cpu", Level.NOTE)
    assert chosen("genomics", "long") == (None, Level.PROBLEM)
    assert chosen("genomics", "GPU") == (None, Level.PROBLEM)
    assert "cpu, long, gpu" in slurm.choose_partition(partitions, nodes, None, "GPU")[1].fix
    assert slurm.choose_partition([], [], None, None)[1].level is Level.PROBLEM


def test_the_account_is_the_one_asked_for_or_the_default():
    settings = slurm_output.settings_of(CONFIG_22)
    known, default = Output(0, "genomics\nother\ngenomics\n"), Output(0, "other\n")

    def chosen(asked=None, known=known, default=default, settings=settings):
        account, finding = slurm.choose_account(settings, known, default, asked)
        return account, finding.level

    assert chosen() == ("other", Level.OK)
    assert chosen(default=REFUSED) == ("genomics", Level.OK)
    assert chosen("genomics") == ("genomics", Level.OK)
    assert chosen("Genomics") == ("Genomics", Level.OK)
    assert chosen("nobody") == (None, Level.PROBLEM)
    assert "genomics, other" in slurm.choose_account(settings, known, default, "nobody")[1].fix
    assert chosen(known=SUCCESS) == (None, Level.PROBLEM)
    assert chosen(known=SUCCESS, settings={**settings, "AccountingStorageEnforce": "none"}) == (None, Level.OK)
    assert chosen("genomics", known=REFUSED) == ("genomics", Level.NOTE)
    assert chosen("genomics", settings=slurm_output.settings_of(CONFIG_25)) == (None, Level.NOTE)


@pytest.mark.parametrize(
    ("findmnt", "stat", "level"),
    [
        (Output(0, "nfs4   server:/home\n"), "nfs", Level.OK),
        (Output(0, "lustre 10.0.0.1@o2ib:/work\n"), "lustre", Level.OK),
        # The entry of an automounter comes first.
        (Output(0, "autofs systemd-1\nnfs server:/home\n"), "nfs", Level.OK),
        (Output(0, "fuse.glusterfs server:/volume\n"), "fuseblk", Level.OK),
        (Output(0, "ext4 /dev/vda\n"), "ext2/ext3", Level.NOTE),
        (Output(0, "fuse.mystery x\n"), "fuse", Level.NOTE),
        (MISSING, "gpfs\n", Level.OK),
        (MISSING, "xfs\n", Level.NOTE),
        (MISSING, "", Level.NOTE),
    ],
)
def test_a_folder_on_this_machine_alone_is_noted(findmnt, stat, level):
    finding = machine.folder_finding("/checkout", findmnt, Output(0, stat))
    assert finding.level is level
    assert (finding.fix is None) == (level is Level.OK)


@pytest.mark.parametrize(
    ("line", "cuda"),
    [("cuda: Optional[str] = '12.8'", "12.8"), ('cuda = "13.0"', "13.0"), ("cuda: Optional[str] = None", None)],
)
def test_cuda_is_read_from_torch_without_loading_it(line, cuda):
    assert machine.cuda_of(f"__version__ = '2.13.0'\ndebug = False\n{line}\nhip: Optional[str] = '6.1'\n") == cuda


@pytest.mark.parametrize(
    ("cuda", "driver", "gpus", "level"),
    [
        (None, MISSING, False, Level.OK),
        (None, MISSING, True, Level.PROBLEM),
        ("13.0", Output(0, NVIDIA_SMI), True, Level.PROBLEM),
        ("13.0", Output(0, NVIDIA_SMI), False, Level.OK),
        # Newer than the driver's 12.2, of the same major version.
        ("12.8", Output(0, NVIDIA_SMI), True, Level.OK),
        ("12.8", MISSING, True, Level.NOTE),
        ("12.8", Output(9, "NVIDIA-SMI has failed"), True, Level.NOTE),
    ],
)
def test_torch_must_suit_the_gpus_and_the_driver(cuda, driver, gpus, level):
    assert machine.torch_finding("2.13.0", cuda, driver, gpus, True).level is level


def test_interfaces_that_are_up_are_listed_infiniband_first(tmp_path):
    for name, state, kind in [
        ("eth0", "up", "1"),
        ("eth1", "down", "1"),
        ("lo", "unknown", "772"),
        ("docker0", "up", "1"),
        ("ibp65s0", "up", "32"),
        ("hsn0", "up", "32"),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "operstate").write_text(f"{state}\n")
        (tmp_path / name / "type").write_text(f"{kind}\n")
    assert machine.interfaces(tmp_path) == ["hsn0", "ibp65s0", "eth0"]
    assert machine.interfaces(tmp_path / "nowhere") == []
    assert machine.interface_finding([]).level is Level.NOTE


def test_a_healthy_cluster_has_no_problem():
    findings, content = doctor.examine(ROOT, cluster_says(), "gpu")
    by_subject = findings_by_subject(findings)
    # The torch of this environment does not depend on the cluster.
    assert {finding.subject for finding in findings if finding.level is Level.PROBLEM} <= {"torch"}
    assert by_subject["partition"].level is Level.OK and "'gpu'" in by_subject["partition"].what
    # One of the two is drained.
    assert "2 nodes, 1 in service, 16 to 22 cores" in by_subject["partition gpu"].what
    assert yaml.safe_load(content)["slurm"] == {"account": "other", "partition": "gpu", "gpu_request": "gres"}


@pytest.mark.parametrize(
    ("changes", "asked", "subject"),
    [
        ({"scontrol show config": Output(1, "", "Unable to contact slurm controller")}, {}, "controller"),
        ({"scontrol --oneliner show node": Output(124, "", "scontrol: no answer within 20 s")}, {}, "controller"),
        ({"scontrol show config": MISSING}, {}, "controller"),
        ({}, {"partition": "nowhere"}, "partition"),
        ({}, {"account": "nobody"}, "account"),
        ({"sinfo": MISSING}, {"partition": "gpu"}, "Slurm"),
    ],
)
def test_what_keeps_a_site_file_from_being_written(changes, asked, subject):
    findings, content = doctor.examine(ROOT, cluster_says(changes), **asked)
    assert findings_by_subject(findings)[subject].level is Level.PROBLEM
    assert content is None
    assert site_draft.write_site(content, Path("/nowhere/site.yaml"), ROOT, False).level is Level.NOTE


@pytest.mark.parametrize(
    "sinfo", [MISSING, Output(1, "", "sinfo: error\nsinfo: fatal: Could not establish a configuration source\n")]
)
def test_a_machine_without_a_cluster_gets_a_site_of_its_own(sinfo, tmp_path):
    listed = Output(0, "GPU 0: NVIDIA H100 (UUID: GPU-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)\n")
    changes = {"sinfo": sinfo, "nvidia-smi -L": listed, "nvidia-smi": Output(0, NVIDIA_SMI)}
    findings, content = doctor.examine(ROOT, cluster_says(changes))
    assert findings[0].level is Level.NOTE
    assert site_draft.write_site(content, tmp_path / "site.yaml", ROOT, False).level is Level.OK
    site = sites.load(ROOT, {"DNATUNE_SITE": str(tmp_path)})
    assert (site.gpus, site.ranks, site.slurm) == (2, 2, None)
    assert site.mem_mb > 500


def test_a_program_that_is_missing_or_hangs_has_an_output(tmp_path):
    assert run_program("no-such-program-here").status == 127
    # A child process that keeps the output open is ended together with its parent.
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    hung = run_program(sys.executable, "-c", script, patience=0.5)
    assert (hung.status, hung.stdout) == (124, "")
    assert "no answer within 0.5 s" in hung.reason
    failed = run_program(sys.executable, "-c", "import sys; print('out'); sys.exit('last words')")
    assert (failed.status, failed.stdout, failed.reason) == (1, "out\n", "last words")
    # Bytes that are not valid text do not cause an error.
    assert run_program(sys.executable, "-c", r"import os; os.write(1, b'\xff\n')").stdout == "�\n"


def test_a_finding_is_a_line_with_what_to_do_below():
    assert str(Finding(Level.OK, "Slurm", "22.05.8")) == "ok       Slurm: 22.05.8"
    problem = Finding(Level.PROBLEM, "account", "none", "ask")
    assert str(problem) == "PROBLEM  account: none\n         to do: ask"
