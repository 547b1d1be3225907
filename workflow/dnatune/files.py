"""Writes files atomically, reads JSON, and computes hashes."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dnatune.errors import DataError

_MAKE_FIRST, _MAKE_AGAIN = "run the stage that makes it first", "delete the file; it is made again"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"


@contextlib.contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; on a clean exit it is synced to disk and takes the name `path`.

    On an error, including a full disk, the scratch file is removed and `path` stays unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    scratch = Path(scratch_name)
    try:
        yield scratch
        _sync(scratch)
        scratch.chmod(0o666 & ~_umask())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `path`; on a clean exit it replaces anything at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield scratch
        for file in scratch.rglob("*"):
            if file.is_file():
                _sync(file)
        scratch.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        scratch.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
    return {
        str(file.relative_to(folder)): sha256_of_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "manifest.json" and not file.name.startswith(".")
    }


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
    except ValueError as error:
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
    except ValueError as error:
        where = f"{path}, line {len(rows) + 1}"
        raise DataError(f"not valid JSON: {error}", where=where, fix=_MAKE_AGAIN) from None
    return rows
