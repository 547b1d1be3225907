"""Plain Debian folders, and Debian's newest Apptainer in one of them, for root on a machine that has debootstrap."""

import os
import shutil
import subprocess
from pathlib import Path

#: Release whose `main` has Apptainer.
_NEWEST = "sid"
#: What a Debian folder has of its own; everything else below / is this machine's.
_OWN = {"bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "sbin", "usr", "var"}
#: `apptainer` in that folder as its root, with this machine's other folders in it. A user namespace gives it all rights
#: over that root, which root of a virtual machine may lack, and runs it as it runs for users of a cluster.
_PROGRAM = """\
import ctypes, os, subprocess, sys
root, folders, program, here = {root!r}, {folders!r}, {program!r}, os.getcwd()
mounted, mapped = os.pipe(), os.pipe()
parent = os.getpid()
if os.fork() == 0:
    # Only a process outside the namespace may map all users.
    os.read(mounted[0], 1)
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{{parent}}/{{kind}}", "w") as file:
            file.write("0 0 65536")
    os.write(mapped[1], b"1")
    os._exit(0)
new_user, new_mounts = 0x10000000, 0x20000
if ctypes.CDLL(None).unshare(new_user | new_mounts):
    sys.exit("this machine allows no user namespaces")
os.write(mounted[1], b"1")
os.read(mapped[0], 1)
os.wait()
def call(*words):
    subprocess.run(words, check=True, env={{"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}})
call("mount", "--make-rprivate", "/")
call("mount", "--rbind", root, root)
for folder in folders:
    call("mount", "--rbind", f"/{{folder}}", f"{{root}}/{{folder}}")
os.chdir(root)
call("pivot_root", ".", "outside")
os.chdir("/")
call("umount", "--lazy", "/outside")
os.chdir(here)
os.execv(program, [program, *sys.argv[1:]])
"""


def obstacle() -> str | None:
    """Return why no such folder can be made here, None if one can."""
    if os.getuid() != 0:
        return "debootstrap needs root"
    return None if shutil.which("debootstrap") else "debootstrap is not installed (.ci/packages-container.txt)"


def make(folder: Path, release: str, *packages: str) -> Path:
    """Make a folder with a minimal Debian, and return it.

    Args:
        folder: a new folder.
        release: Debian's name for it.
        packages: more packages.
    """
    wanted = [f"--include={','.join(packages)}"] if packages else []
    log = folder.with_suffix(".log")
    with log.open("w") as file:
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", *wanted, release, folder], stdout=file, stderr=file, check=False
        )
    assert done.returncode == 0, log.read_text("utf-8", "replace")[-3000:]
    # An image of a registry has no devices, and in a user namespace nobody may copy one.
    for device in (folder / "dev").iterdir():
        shutil.rmtree(device) if device.is_dir() and not device.is_symlink() else device.unlink()
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    (folder / "etc/hosts").touch()
    return folder


def use_pip_of_this_machine(folder: Path) -> list[str]:
    """Let pip in a Debian folder find packages as it does on this machine; return the folders that it must see."""
    done = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    settings = {key.split(".")[-1]: value.strip("'\"") for key, value in found.items()}
    words = [word for value in settings.values() for word in value.replace("\\n", " ").split()]
    # The files of an index lie beside its pages.
    seen = [str(Path(word[7:]).parent) if word.startswith("file://") else word for word in words]
    for path in filter(os.path.isfile, seen):
        # Debian's own packages may write a file anew that has its usual place.
        shutil.copy(path, folder / f"etc/of-pip-{Path(path).name}")
        settings = {key: value.replace(path, f"/etc/of-pip-{Path(path).name}") for key, value in settings.items()}
    lines = [f"{key} = {' '.join(value.replace(chr(92) + 'n', ' ').split())}" for key, value in settings.items()]
    (folder / "etc/pip.conf").write_text("\n".join(["[global]", *lines, ""]), "utf-8")
    folders = sorted(filter(os.path.isdir, seen))
    for path in folders:
        (folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return folders


def apptainer(folder: Path) -> Path:
    """Return a folder with the program `apptainer`: this machine's, or Debian's newest in a folder of its own.

    Args:
        folder: a new folder.
    """
    if here := shutil.which("apptainer"):
        return Path(here).parent
    folder.mkdir()
    root = make(folder / "root", _NEWEST, "apptainer", "ca-certificates", "squashfuse")
    others = [path.name for path in Path("/").iterdir() if path.is_dir() and not path.is_symlink()]
    folders = sorted({*others} - _OWN)
    for name in (*folders, "outside"):
        (root / name).mkdir(exist_ok=True)
    program = folder / "bin/apptainer"
    program.parent.mkdir()
    text = _PROGRAM.format(root=str(root), folders=folders, program="/usr/bin/apptainer")
    program.write_text(f"#!{shutil.which('python3', path='/usr/bin')} -I\n{text}", "utf-8")
    program.chmod(0o755)
    return program.parent
