"""Output of several versions of Slurm's programs, and a stand-in that returns it, for the tests of doctor."""

from collections.abc import Mapping

from dnatune.doctor.command import Output, RunProgram
from dnatune.doctor.findings import Finding

#: Lines of `scontrol show config`, Slurm 22.05.8.
CONFIG_22 = """Configuration data as of 2026-11-24T00:03:40
AccountingStorageEnforce = associations
AccountingStorageHost   = 127.0.0.1
AccountingStorageTRES   = cpu,mem,energy,node,billing,fs/disk,vmem,pages,gres/gpu
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = dnatune
GresTypes               = gpu
JobRequeue              = 1
MinJobAge               = 300 sec
PowerPlugin             = 
SelectType              = select/cons_tres
SelectTypeParameters    = CR_CPU_MEMORY
SlurmctldHost[0]        = vm(127.0.0.1)
SlurmctldTimeout        = 120 sec
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at vm is UP
"""  # noqa: W291
#: The same of Slurm 25.11, which writes (null) where a plugin is switched off.
CONFIG_25 = """Configuration data as of 2026-04-21T06:19:30
AccountingStorageEnforce = none
AccountingStorageType   = (null)
ClusterName             = linux
GresTypes               = (null)
JobRequeue              = 0
MinJobAge               = 300 sec
SelectType              = select/linear
SLURM_VERSION           = 25.11.4
TrackWCKey              = no
"""
#: `scontrol --oneliner show node`, Slurm 22.05.8: as it should be; drained; without GPUs, with memory kept back.
NODES = (
    "NodeName=n1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=16 CPUTot=16 CPULoad=0.19 AvailableFeatures=(null) "
    "ActiveFeatures=(null) Gres=gpu:8 NodeAddr=127.0.0.1 NodeHostName=vm Port=31522 Version=22.05.8 "
    "OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=64000 AllocMem=0 FreeMem=22707 Sockets=16 Boards=1 "
    "State=IDLE ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu,long  "
    "BootTime=2026-11-23T19:21:20 CfgTRES=cpu=16,mem=62.50G,billing=16,gres/gpu=8 AllocTRES= CapWatts=n/a\n"
    "NodeName=n2 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=22 CPUTot=24 CPULoad=0.20 AvailableFeatures=(null) "
    "ActiveFeatures=(null) Gres=gpu:a100:4(S:0-1) NodeAddr=127.0.0.1 NodeHostName=vm Port=24071 Version=22.05.8 "
    "OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=64000 AllocMem=0 FreeMem=22707 Sockets=24 Boards=1 "
    "CoreSpecCount=2 CPUSpecList=22-23  State=IDLE+DRAIN ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A "
    "MCS_label=N/A Partitions=gpu,long  BootTime=2026-11-23T19:21:20 CfgTRES=cpu=22,mem=62.50G AllocTRES= "
    "Reason=was Gres=gpu:16 State=IDLE [root@2026-11-24T00:11:58]\n"
    "NodeName=n3 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=32 CPUTot=32 CPULoad=0.19 AvailableFeatures=(null) "
    "ActiveFeatures=(null) Gres=(null) NodeAddr=127.0.0.1 NodeHostName=vm Port=26412 Version=22.05.8 "
    "OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=64000 AllocMem=0 FreeMem=22707 Sockets=32 Boards=1 "
    "MemSpecLimit=4000 State=IDLE ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=cpu  "
    "BootTime=2026-11-23T19:21:20 CfgTRES=cpu=32,mem=62.50G,billing=32 AllocTRES= CapWatts=n/a\n"
)
#: `scontrol --oneliner show partition`, Slurm 22.05.8.
PARTITIONS = (
    "PartitionName=cpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A "
    "MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=n3 State=UP "
    "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED\n"
    "PartitionName=long AllowGroups=ALL AllowAccounts=other,Group AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A "
    "MaxNodes=UNLIMITED MaxTime=3-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=8 Nodes=n[1-2] State=UP "
    "DefMemPerNode=UNLIMITED MaxMemPerNode=32000\n"
    "PartitionName=gpu AllowGroups=ALL DenyAccounts=guests AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A "
    "MaxNodes=UNLIMITED MaxTime=01:30:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=n[1-2] State=UP "
    "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED\n"
)
#: Head of nvidia-smi's table, driver 535.
NVIDIA_SMI = "| NVIDIA-SMI 535.104.05     Driver Version: 535.104.05   CUDA Version: 12.2     |\n"

SUCCESS = Output(0, "")
REFUSED = Output(
    1, "", "sacct: error: Sending PersistInit msg\nsacct: error: Problem talking to the database: refused\n"
)
MISSING = Output(127, "", "No such file or directory")


def cluster_says(changes: Mapping[str, Output] | None = None) -> RunProgram:
    """Return a stand-in for `run_program` on a healthy cluster; `changes` are keyed by the start of the command."""
    said = {
        "sinfo": Output(0, "slurm-wlm 22.05.8\n"),
        "scontrol show config": Output(0, CONFIG_22),
        "scontrol --oneliner show node": Output(0, NODES),
        "scontrol --oneliner show partition": Output(0, PARTITIONS),
        "sacctmgr --noheader --parsable2 show associations": Output(0, "genomics\nother\ngenomics\n"),
        "sacctmgr --noheader --parsable2 show user": Output(0, "other\n"),
        "sacct ": SUCCESS,
        "findmnt": Output(0, "nfs4 server:/home\n"),
        "stat": Output(0, "nfs\n"),
    }
    said = {**said, **(changes or {})}

    def run_program(*command: str) -> Output:
        line = " ".join(command)
        return next((output for start, output in said.items() if line.startswith(start)), MISSING)

    return run_program


def findings_by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}
