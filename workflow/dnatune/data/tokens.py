"""Token ids of a large split, kept beside its records: tokenised once per tokenizer, then mapped into memory.

A kept split is a folder tokens/<digest>/ with an Arrow data set of Hugging Face's `datasets`. The digest is that of all
that its content depends on, so a kept split is never out of date, and it may be deleted at any time.
"""

import bisect
import importlib.metadata
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnatune.errors import DataError
from dnatune.files import digest, folder_hashes, publish_folder, read_json, write_json
from dnatune.launch.process_group import Rank, first_rank_first

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Splits of fewer rows are tokenised in each process. On one core of an AMD EPYC, the 47,356 prompts of prom_core_all
#: (70 bp, 77 tokens each) are tokenised in 5.8 s, read back in 0.7 s, half of it the import of `datasets`, and written
#: in 0.8 s. A process that reads gains from about 5,000 rows on; the first one, which writes, never does.
LEAST_ROWS = 20_000
#: To be raised if code changes what is kept.
_FORMAT = 1

Tokens = tuple[list[int], Sequence[list[int]]]


class MappedRows(Sequence[list[int]]):
    """Lists of token ids in the chunks of a memory-mapped Arrow column."""

    def __init__(self, column: Any):
        """Take a `pyarrow.ChunkedArray` of lists of int32, whose buffers are looked at and not copied."""
        self._chunks = [(chunk.values.to_numpy(), chunk.offsets.to_numpy()) for chunk in column.chunks]
        self._starts = [0]
        for chunk in column.chunks:
            self._starts.append(self._starts[-1] + len(chunk))

    def __len__(self) -> int:
        """Return the number of lists."""
        return self._starts[-1]

    def __getitem__(self, index: int) -> list[int]:
        """Return one list. A row of `datasets.Dataset` is the same in some fifty times the time."""
        index = range(len(self))[index]
        number = bisect.bisect_right(self._starts, index) - 1
        ids, offsets = self._chunks[number]
        place = index - self._starts[number]
        return ids[offsets[place] : offsets[place + 1]].tolist()


def kept_tokens(
    folder: Path, tokenizer: "PreTrainedTokenizerBase", texts: Sequence[Any], tokenize: Callable[[], Tokens], rank: Rank
) -> Tokens:
    """Return the shared prefix and the token ids behind it of each example; all ranks call this together.

    The first rank keeps what it has tokenised, and the others then find it. Where nothing can be kept or found, or what
    was kept is damaged, a rank tokenises for itself and a line in the log says so.

    Args:
        folder: tokens/ beside the split's records.
        tokenizer: the model's tokenizer.
        texts: all else that the result depends on, JSON-like.
        tokenize: makes the result.
        rank: this process.
    """
    versions = [importlib.metadata.version(package) for package in ("tokenizers", "transformers")]
    place = folder / digest([_FORMAT, versions, _digest_of_tokenizer(tokenizer), texts])
    with first_rank_first(rank):
        found = _read(place)
        if found is None:
            found = tokenize()
            if rank.first:
                _keep(place, *found)
    return found


def _digest_of_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return the digest of the files that a tokenizer is saved as: the same for a base model and what is made of it."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return digest(folder_hashes(Path(folder)))


def _read(place: Path) -> Tokens | None:
    if not place.is_dir():
        return None
    try:
        if read_json(place / "digests.json") != folder_hashes(place / "examples"):
            raise ValueError("its files are not those that were written")
        import datasets

        mapped = datasets.load_from_disk(str(place / "examples"))
        return read_json(place / "examples/prefix.json"), MappedRows(mapped.data.column("ids"))
    except (OSError, ValueError, KeyError, DataError) as error:
        logging.warning("the tokens in %s cannot be used and are made again: %s", place, error)
        return None


def _keep(place: Path, prefix: list[int], examples: Sequence[list[int]]) -> None:
    import datasets

    datasets.disable_progress_bars()
    ids = datasets.Features({"ids": datasets.List(datasets.Value("int32"))})
    try:
        with publish_folder(place) as folder:
            datasets.Dataset.from_dict({"ids": examples}, features=ids).save_to_disk(str(folder / "examples"))
            write_json(folder / "examples/prefix.json", prefix)
            write_json(folder / "digests.json", folder_hashes(folder / "examples"))
    except OSError as error:
        logging.warning("tokens cannot be kept in %s, and each process makes its own: %s", place, error)
