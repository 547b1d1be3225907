"""What a machine or cluster is like: the site file, found by name or path."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from dnatune.configuration import check, load_schema
from dnatune.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class Site:
    """Resources of this site's jobs, every `auto` resolved.

    Attributes:
        ranks: processes of a finetune run.
        gpus: GPUs of a finetune run; 0 on a machine without.
        cpus_per_rank: cores of a rank.
        mem_mb: memory of a job with a model in it, MB.
        runtime: longest a finetune job may take.
    """

    ranks: int
    gpus: int
    cpus_per_rank: int
    mem_mb: int
    runtime: str


def load(root: Path, environment: Mapping[str, str]) -> Site:
    """Return the site: `DNATUNE_SITE` (name or path), else profiles/sites/local, else the generic one.

    Args:
        root: the checkout.
        environment: environment variables.

    Raises:
        ConfigurationError: no such site, or a key that its schema does not allow.
    """
    path = find(root / "profiles" / "sites", environment.get("DNATUNE_SITE"))
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"not valid YAML: {error}", where=str(path), fix="correct the file") from None
    settings = check(content or {}, load_schema("site"), f"{path}:")
    gpus = visible_gpus(environment)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = settings["ranks"] if settings["ranks"] != "auto" else gpus or min(2, cores)
    per_rank = settings["cpus_per_rank"] if settings["cpus_per_rank"] != "auto" else max(1, cores // ranks)
    return Site(ranks, min(gpus, ranks), per_rank, settings["mem_mb"], settings["runtime"])


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


def visible_gpus(environment: Mapping[str, str]) -> int:
    """Return the number of NVIDIA GPUs a job started here would see, without loading torch."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([device for device in chosen.split(",") if device.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
