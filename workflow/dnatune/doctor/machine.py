"""Checks of a machine: file system, Python, torch and driver, network."""

import re
from collections.abc import Sequence
from pathlib import Path

from dnatune.doctor.command import Output
from dnatune.doctor.findings import Finding, Level

_NETWORK_FILE_SYSTEMS = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "daos", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs"),
    *("pvfs2", "quobyte", "smb2", "smb3", "virtiofs", "weka", "wekafs"),
}
_LOCAL_FILE_SYSTEMS = {
    *("btrfs", "ext2", "ext2/ext3", "ext3", "ext4", "f2fs", "jfs", "overlay", "overlayfs", "ramfs", "reiserfs"),
    *("tmpfs", "xfs", "zfs"),
}
#: First driver that supports each major version of CUDA (CUDA Compatibility guide, table "minimum driver version").
_FIRST_DRIVER = {"11": 450, "12": 525, "13": 580}
#: Type of an InfiniBand interface in /sys/class/net/*/type (ARPHRD_INFINIBAND of linux/if_arp.h).
_INFINIBAND = "32"
_VIRTUAL_INTERFACES = ("br-", "docker", "ifb", "lo", "tun", "veth", "virbr")


def folder_finding(folder: str, findmnt: Output, stat: Output) -> Finding:
    """Check whether compute nodes can see the checkout.

    Args:
        folder: the checkout.
        findmnt: output with type and source of its file system.
        stat: output with the type of its file system, for systems without findmnt.
    """
    last = findmnt.stdout.strip().splitlines()[-1:] if findmnt.status == 0 else []
    kind, source = (*last[0].split(maxsplit=1), "")[:2] if last else (stat.stdout.strip(), "")
    # fuse.NAME names the file system; fuse, fuseblk and autofs do not.
    kind = kind.removeprefix("fuse.") or "unknown"
    if kind in _NETWORK_FILE_SYSTEMS:
        return Finding(Level.OK, "file system", f"{folder} is on {kind}" + (f" ({source})" if source else ""))
    fix = f"check that compute nodes see this folder at the same path: srun ls {folder}"
    if kind in _LOCAL_FILE_SYSTEMS:
        what = f"{folder} is on {kind}, a local file system of this machine; compute nodes may not see it"
        return Finding(Level.NOTE, "file system", what, f"{fix}; if they do not, move the checkout")
    return Finding(Level.NOTE, "file system", f"it is unknown whether {folder} is shared (type {kind})", fix)


def python_finding(version: Sequence[int], executable: str, missing: Sequence[str]) -> Finding:
    """Check the Python environment.

    Args:
        version: Python's version; the command has already checked that it is not too old.
        executable: the interpreter.
        missing: packages that the environment lacks.
    """
    said = f"{'.'.join(map(str, version[:3]))} ({executable})"
    if missing:
        fix = "run `make doctor`, which sets up .venv, or activate your own environment"
        return Finding(Level.PROBLEM, "Python", f"{said} lacks {', '.join(missing)}", fix)
    return Finding(Level.OK, "Python", said)


def container_finding(programs: Sequence[Output]) -> Finding:
    """Say whether jobs can run in a container.

    Args:
        programs: output of Apptainer and of Singularity, asked for their versions.
    """
    found = next((program.stdout.strip() for program in programs if program.status == 0), None)
    return Finding(Level.OK, "containers", found or "no apptainer or singularity; only --sdm apptainer needs one")


def cuda_of(source: str) -> str | None:
    """Return the CUDA version in the text of torch/version.py, such as `13.0`; None for a CPU build."""
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", source, re.MULTILINE)
    return found[1] if found else None


def torch_finding(version: str, cuda: str | None, driver: Output, gpus: bool, slurm: bool) -> Finding:
    """Check whether torch's CUDA version suits the driver.

    Args:
        version: torch's version.
        cuda: torch's CUDA version; None for a CPU build.
        driver: output of nvidia-smi on this machine.
        gpus: whether jobs will have GPUs.
        slurm: whether jobs run on other machines.
    """
    if cuda is None:
        said = f"{version}, built without CUDA"
        if not gpus:
            return Finding(Level.OK, "torch", said)
        fix = "rm -r .venv; make setup, with TORCH_INDEX empty or the index of a CUDA build"
        return Finding(Level.PROBLEM, "torch", f"{said}, so it cannot use the GPUs", fix)
    said, major = f"{version} with CUDA {cuda}", cuda.split(".")[0]
    if not gpus:
        return Finding(Level.OK, "torch", said)
    # torch's minor version may be newer than the driver's (CUDA Compatibility guide, "minor version compatibility").
    found = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", driver.stdout)
    needed = f"driver {_FIRST_DRIVER[major]} or newer" if major in _FIRST_DRIVER else f"a driver for CUDA {major}"
    if driver.status or found is None:
        fix = "check a compute node: srun --gres=gpu:1 nvidia-smi" if slurm else "run nvidia-smi and read its error"
        return Finding(Level.NOTE, "torch", f"{said} needs {needed}; no driver was found on this machine", fix)
    if int(found[1]) < int(major):
        fix = f"install {needed}, or a torch for CUDA {found[1]}: rm -r .venv; make setup TORCH_INDEX=…"
        return Finding(Level.PROBLEM, "torch", f"{said}, but the driver supports only CUDA {found[1]}.{found[2]}", fix)
    return Finding(Level.OK, "torch", f"{said}; the driver supports CUDA {found[1]}.{found[2]}")


def interfaces(folder: Path = Path("/sys/class/net")) -> list[str]:
    """Return the network interfaces that are up, InfiniBand first."""
    found = []
    for path in folder.glob("*"):
        if path.name.startswith(_VIRTUAL_INTERFACES) or read(path / "operstate") != "up":
            continue
        fast = read(path / "type") == _INFINIBAND or path.name.startswith("ib")
        found.append((not fast, path.name))
    return [name for _, name in sorted(found)]


def read(path: Path) -> str:
    """Return the text of a small file, or an empty string if it cannot be read."""
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def interface_finding(names: Sequence[str]) -> Finding:
    """Describe the network interfaces."""
    if not names:
        return Finding(Level.NOTE, "network", "no interface is up")
    return Finding(Level.OK, "network", f"{', '.join(names)}; NCCL and gloo choose one, unless the site file names it")
