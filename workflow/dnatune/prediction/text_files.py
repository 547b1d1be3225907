"""Text files of users, plain or compressed with gzip, whose damage is told in a message."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dnatune.errors import DataError

_GZIP = b"\x1f\x8b"


@contextlib.contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file of UTF-8 text within the context, whatever its name says of compression.

    Args:
        path: the file.
        newline: as of `open`.

    Raises:
        DataError: the file is missing, is no text, or its compressed data are damaged.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP
        with (
            gzip.open(path, "rb") if compressed else path.open("rb") as binary,
            io.TextIOWrapper(binary, encoding="utf-8-sig", newline=newline) as text,
        ):
            yield text
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 text: byte 0x{error.object[error.start]:02x}",
            where=str(path),
            fix="give a text file, plain or compressed with gzip",
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"the compressed data are damaged: {error}", where=str(path), fix="copy it again") from None


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is not blank."""
    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")
