"""Manifests of what a base model was trained on before: digests of sequences, and which test items are among them."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from dnatune.errors import DataError

_DIGEST = re.compile(r"[0-9a-f]{64}")


def read_manifest(path: Path) -> frozenset[str]:
    """Read a manifest of earlier training data: one SHA-256 per line, of a sequence in upper case without white space.

    Empty lines and lines that begin with # are ignored.

    Raises:
        DataError: a line is not a digest, or the file is missing or holds no digest.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix="check 'contamination.manifest'") from None
    except UnicodeDecodeError:
        raise DataError("not a text file", where=str(path), fix="give one SHA-256 per line, in hexadecimal") from None
    found = set()
    for number, line in enumerate(lines, start=1):
        word = line.strip().lower()
        if not word or word.startswith("#"):
            continue
        if not _DIGEST.fullmatch(word):
            raise DataError(
                f"{line.strip()[:80]!r} is not a SHA-256",
                where=f"{path}, line {number}",
                fix="give 64 hexadecimal digits per line, the digest of a sequence in upper case without white space",
            )
        found.add(word)
    if not found:
        raise DataError(
            "the manifest holds no digest", where=str(path), fix="give one SHA-256 per line, or no manifest"
        )
    return frozenset(found)


def digest_of(sequence: str) -> str:
    """Return the SHA-256 of a sequence in upper case without white space, as in a manifest."""
    return hashlib.sha256("".join(sequence.split()).upper().encode()).hexdigest()


def in_manifest(sequences: Sequence[str], manifest: frozenset[str]) -> list[int]:
    """Return the indices of the sequences that are in a manifest."""
    return [number for number, sequence in enumerate(sequences) if digest_of(sequence) in manifest]
