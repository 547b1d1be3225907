"""Writes files atomically, reads JSON, and computes hashes."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dnatune.errors import DataError
from dnatune.threads import in_threads

_MAKE_FIRST, _MAKE_AGAIN = "run the stage that makes it first", "delete the file; it is made again"
#: Linux' renameat2, which can exchange two names (linux/fs.h); paths are taken from the current folder (linux/fcntl.h).
_RENAMEAT2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
_RENAME_EXCHANGE, _HERE = 2, -100
#: Environment variable that is `1` where large files too are to be read whole before they are used; the site sets it.
VERIFY = "DNATUNE_VERIFY"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
#: A process can only read its mask by changing it, which threads that make files would see. So it is read once.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextlib.contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; on a clean exit it is synced to disk and takes the name `path`.

    On an error, including a full disk, the scratch file is removed and `path` stays unchanged.
    """
    descriptor, scratch_name = tempfile.mkstemp(dir=path.parent, prefix=_scratch_prefix(path))
    os.close(descriptor)
    scratch = Path(scratch_name)
    try:
        yield scratch
        scratch.chmod(0o666 & ~_UMASK)
        sync(scratch)
        scratch.replace(path)
        sync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `path`; on a clean exit it replaces anything at `path`, as `put_in_place` does."""
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=_scratch_prefix(path)))
    try:
        yield scratch
        # safetensors makes files that their owner alone may read.
        for entry in [scratch, *scratch.rglob("*")]:
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~_UMASK)
        put_in_place(scratch, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(scratch: Path, path: Path) -> None:
    """Give a folder that is written in full its name; what had that name before is deleted.

    Everything is on disk before the name changes. Linux exchanges the two names in one operation on local file systems:
    a process that is killed at any point leaves the old folder or the new one. NFS, Lustre and others refuse the
    exchange. There the old folder steps aside first, and a kill in between leaves no folder at `path`: its stage runs
    again. On every file system, what a killed process has left beside `path` is removed when `path` is next written.

    Args:
        scratch: the folder, in the same folder as `path`.
        path: its name.
    """
    sync_folder(scratch)
    old = scratch if path.exists() else None
    if old is None:
        scratch.replace(path)
    elif not _exchange(scratch, path):
        old = scratch.with_name(f"{scratch.name}.old")
        path.replace(old)
        try:
            scratch.replace(path)
        except OSError:
            old.replace(path)
            raise
    sync(path.parent)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Return when a folder and everything below it is on disk."""
    for entry in [*folder.rglob("*"), folder]:
        sync(entry)


def sync(path: Path) -> None:
    """Return when a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync of a folder.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one operation; return False where the system or the file system has none."""
    if _RENAMEAT2 is None:
        return False
    if not _RENAMEAT2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _scratch_prefix(path: Path) -> str:
    """Return how names of scratch files for `path` begin, and remove those that killed processes have left.

    The name holds host and process number, so that nobody removes what another process is writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    common = f".{path.name}.{socket.gethostname()}-"
    for left in path.parent.iterdir():
        writer = left.name.removeprefix(common).partition("-")[0]
        if left.name.startswith(common) and writer.isdecimal() and not _runs(int(writer)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return f"{common}{os.getpid()}-"


def _runs(process: int) -> bool:
    """Return whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def leads_out(file: Path, folder: Path) -> bool:
    """Return whether a file that is named below a folder lies elsewhere, because a symbolic link leads there.

    The folder itself may be a link. What a folder of the hub's cache links to lies in the cache.
    """
    real = folder.resolve()
    allowed = [real, real.parents[1] / "blobs"] if real.parent.name == "snapshots" else [real]
    return not any(file.resolve().is_relative_to(place) for place in allowed)


def is_lfs_pointer(path: Path) -> bool:
    """Return whether a file is a git-lfs pointer, in place of a large file that git-lfs has not fetched."""
    with path.open("rb") as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return a short, stable digest (16 hexadecimal digits) of a JSON-like value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_hashes(folder: Path) -> dict[str, str]:
    """Return {relative path: SHA-256} of the files below `folder`, except its manifest and hidden files."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    return hashes_of(folder, [str(file.relative_to(folder)) for file in files if file.name != "manifest.json"])


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files by their path relative to `folder`; several threads read them."""
    names = list(names)
    return dict(zip(names, in_threads(lambda name: sha256_of_file(folder / name), names), strict=True))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinities raise an error, because they are not JSON."""
    with publish_file(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix=_MAKE_FIRST) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {error}", where=str(path), fix=_MAKE_AGAIN) from None


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    with publish_file(path) as scratch, scratch.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object per line.

    Raises:
        DataError: the file is missing, or a line is not JSON; the message names it.
    """
    rows = []
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                rows.append(json.loads(line))
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix=_MAKE_FIRST) from None
    except (ValueError, RecursionError) as error:
        where = f"{path}, line {len(rows) + 1}"
        raise DataError(f"not valid JSON: {error}", where=where, fix=_MAKE_AGAIN) from None
    return rows
