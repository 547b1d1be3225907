"""The site file: what a machine or cluster is like, as it is written down, and where it is found."""

import functools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dnatune.errors import ConfigurationError
from dnatune.settings import settings_file
from dnatune.settings.base import AsTuple, Name, Number, Settings, setting
from dnatune.settings.training import AutoOrCount

# The first character is no hyphen: a program would take the word for an option.
_WORD = "[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*"
Word = Annotated[str, Field(pattern=f"^{_WORD}$")]
Partitions = Annotated[str, Field(pattern=f"^{_WORD}(,{_WORD})*$")]
Constraint = Annotated[str, Field(pattern=f"^{_WORD}([|]{_WORD})*$")]
Module = Annotated[str, Field(pattern="^[A-Za-z0-9_.+/][A-Za-z0-9_.+/-]*$")]
#: Snakemake puts it into a shell command as it is, and reads braces as wildcards.
Image = Annotated[str, Field(pattern="^(/|(docker|oras|library|https)://)[A-Za-z0-9_./:@+-]+$")]
Duration = Annotated[str, Field(pattern="^[1-9][0-9]*(m|h|d)$")]
#: Where and on how much a run is computed decides no result.
_setting = functools.partial(setting, reruns=False)
_DURATION = "minutes (m), hours (h) or days (d)"


class Slurm(Settings):
    """What jobs ask Slurm for."""

    account: Word | None = _setting(None, unit="name")
    """Account that is charged."""
    partition: Partitions | None = _setting(None, unit="name")
    """Partition (queue) of all jobs. Of several, as in short,long, Slurm takes the first that has room."""
    qos: Word | None = _setting(None, unit="name")
    """Quality of service."""
    constraint: Constraint | None = _setting(None, unit="name")
    """Node feature that jobs need; with several, as in v100|a100, any of them."""
    gpu_request: Literal["gres", "gpus_per_node", "none"] = _setting("gres", unit="syntax")
    """How GPUs are asked for: --gres=gpu:N, --gpus-per-node=N, or not at all."""
    gpu_type: Word | None = _setting(None, unit="name")
    """GPU type in that request, as in gpu:a100:8."""
    modules: Annotated[tuple[Module, ...], AsTuple] = _setting((), unit="list of names")
    """Environment modules that each job loads."""
    network_interface: Word | None = _setting(None, unit="name")
    """Network interface of the ranks' traffic, such as ib0. If absent, NCCL and gloo choose it."""
    scratch: Annotated[str, Field(pattern="^/[A-Za-z0-9_./-]*$")] | None = _setting(None, unit="folder")
    """Folder for temporary files that log-in and compute nodes have."""
    every_job_needs_gpu: bool = _setting(False, unit="yes or no")
    """Whether the cluster refuses jobs without a GPU. CPU rules then share such a job, if possible one that needs its
    GPU anyway."""
    signal_seconds: int = _setting(300, ge=10, le=65535, unit="seconds")
    """Time before its limit at which a finetune job is told to write a checkpoint and continue in a new job."""


class Override(Settings):
    """What the jobs of one rule or one optimizer ask for instead."""

    nodes: int | None = _setting(None, ge=1, unit="nodes")
    """Nodes of a run; finetune only."""
    ranks_per_node: int | None = _setting(None, ge=1, unit="processes")
    """Ranks on each node of a finetune run; in evaluate and predict, the ranks that share what
    is scored."""
    mem_mb: int | None = _setting(None, ge=1, unit="MB per node")
    """Memory."""
    runtime: Duration | None = _setting(None, unit=_DURATION)
    """Longest time that the job may take."""
    partition: Partitions | None = _setting(None, unit="name")
    """Partition."""

    def over(self, other: "Override") -> "Override":
        """Return this, filled up from another."""
        return Override(**{**other.plain(), **self.plain()})


class SiteFile(Settings):
    """What a machine or cluster is like. Which comparison is run stands in the configuration, never here."""

    nodes: int = _setting(1, ge=1, unit="nodes")
    """Nodes of a finetune run. More than one needs Slurm."""
    ranks_per_node: AutoOrCount = _setting("auto", unit="processes")
    """Ranks of a finetune run on each node. auto: one per GPU of a node, or one if it has none."""
    gpus_per_node: Literal["auto"] | Annotated[int, Field(ge=0)] = _setting("auto", unit="GPUs")
    """GPUs that a node has. auto: as many as this machine has, which on a cluster may be a log-in node."""
    cpus_per_rank: AutoOrCount = _setting("auto", unit="cores")
    """Cores per rank. auto: an equal share of this machine's cores; one if it has no GPU, so that several tiny runs
    share it."""
    mem_mb: int = _setting(16000, ge=1, unit="MB per node")
    """Memory of a finetune or evaluate job."""
    runtime: Duration = _setting("12h", unit=_DURATION)
    """Longest time that a job may take. Finetune jobs ask for all of it, others for less. It is at least five minutes
    more than slurm.signal_seconds."""
    verify: bool = _setting(False, unit="yes or no")
    """Read every file whole before it is used and compare it with its SHA-256. Otherwise a file of more than 64 MiB is
    read only if its size or date is not the recorded one, because 16 GB take a minute."""
    examples_per_second: dict[Name, Annotated[Number, Field(gt=0)]] = _setting(
        default_factory=dict, unit="map of model to examples per second and rank"
    )
    """Training speed of base models by their names: forward and backward passes over one example. `dnatune cost`
    computes hours from it; where a model is not named, from finished runs in results/."""
    container: Image | None = _setting(None, unit="path or URI of an image")
    """Image in which jobs run with `--sdm apptainer` (docs/container.md): an absolute path that all nodes see, or a URI
    from which Snakemake fetches it, such as docker://…."""
    slurm: Slurm | None = _setting(None, unit="map")
    """What jobs ask Slurm for. Only `--profile slurm`, and runs on several nodes, use it."""
    rules: dict[str, Override] = _setting(default_factory=dict, unit="map by rule")
    """What the jobs of single rules ask for instead."""
    optimizers: dict[str, Override] = _setting(default_factory=dict, unit="map by optimizer name")
    """What the finetune jobs of single optimizers ask for instead."""


def find(folder: Path, name: str | None) -> Path:
    """Return the path of a site file.

    Raises:
        ConfigurationError: there is none of that name or path.
    """
    if name is None:
        local = folder / "local" / "site.yaml"
        return local if local.is_file() else folder / "generic" / "site.yaml"
    candidates = [folder / name / "site.yaml", Path(name) / "site.yaml", Path(name)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        known = sorted(path.parent.name for path in folder.glob("*/site.yaml"))
        raise ConfigurationError(
            f"unknown site '{name}'",
            where="environment variable DNATUNE_SITE",
            fix=f"give a path, or one of: {', '.join(known)}",
        )
    return found


def read_site(path: Path) -> SiteFile:
    """Return what a site file says.

    Raises:
        ConfigurationError: it is no YAML, or a key of it is wrong.
    """
    return SiteFile.read(settings_file.read(path) or {}, noun=f"{path}:")
