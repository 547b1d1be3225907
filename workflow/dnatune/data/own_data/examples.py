"""Examples with their classes, read from a user's FASTA or BED files or from a table."""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dnatune.data.fasta import read_fasta
from dnatune.data.records import check_sequence
from dnatune.data.regions import read_bed, sequences_of
from dnatune.data.sequences import normalised
from dnatune.errors import DataError, shown
from dnatune.settings.own_data import Examples, OwnData, Table
from dnatune.text_files import table

_LOG = logging.getLogger(__name__)
#: Names of splits in a table, and what they are called here.
_SPLITS = {"training": "train", "val": "dev", "valid": "dev", "validation": "dev", "testing": "test"}
_SPLITS |= {name: name for name in ("train", "dev", "test")}
#: How `bedtools getfasta` and genome browsers name a piece of a chromosome.
_REGION_NAME = re.compile(r"(?:.*::)?([^:\s]+):\d+-\d+(?:\([+.-]\))?")
#: Most examples that a message names.
_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """A sequence, its class and where it stands.

    Attributes:
        sequence: DNA in upper case, over ACGTN.
        label: class index.
        split: the split that it is known to belong to; None if that is still open.
        file: the file, as configured.
        line: its line there, from 1.
        name: of a FASTA record or a region; empty if there is none.
        chromosome: if it is known.
        others: the values of a table's other columns.
    """

    sequence: str
    label: int
    split: str | None
    file: str
    line: int
    name: str = ""
    chromosome: str | None = None
    others: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Return the place for a message."""
        return f"{self.file}, line {self.line}" + (f" ({self.name})" if self.name else "")


@dataclasses.dataclass(frozen=True)
class Collection:
    """All examples of a task.

    Attributes:
        examples: in the order of the files.
        columns: names of the other columns, whose values are `Example.others`.
    """

    examples: Sequence[Example]
    columns: Sequence[str]


def read(files: OwnData, labels: Sequence[str]) -> Collection:
    """Read and check all files of a task.

    Args:
        files: which they are.
        labels: the task's classes.

    Raises:
        DataError: a file cannot be read; a sequence is no DNA; a class is not one of the task's or has no example; or
            a sequence stands in two classes.
    """
    examples, columns = [], list(dict.fromkeys(column for part in files.parts.values() for column in others_of(part)))
    for split, part in files.parts.items():
        known = None if split == "train" else split
        for one in _part(part, files.genome_of(part), labels, columns):
            check_sequence(one.sequence, one.where)
            examples.append(one if known is None else dataclasses.replace(one, split=known))
    _check_classes(examples, labels)
    _tell_repeats(examples)
    return Collection(examples, columns)


def others_of(part: Examples) -> list[str]:
    """Return the columns of a table that are carried along; there are none in other files."""
    if part.table is None:
        return []
    header, _ = table(Path(part.table.path).expanduser(), part.table.columns)
    return [column for column in header if column not in part.table.columns]


def chromosome_of(name: str) -> str | None:
    """Return the chromosome in a record's name of the form `chr1:100-200(+)`; None if it has another form."""
    found = _REGION_NAME.fullmatch(name)
    return found[1] if found else None


def _part(part: Examples, genome: str | None, labels: Sequence[str], columns: Sequence[str]) -> Iterator[Example]:
    if part.table is not None:
        yield from _of_table(part.table, labels, columns)
    elif part.bed is not None:
        yield from _of_regions(part.bed, Path(genome).expanduser(), part.width, labels)
    else:
        for word, path in part.fasta.items():
            for record in read_fasta(Path(path).expanduser()):
                yield Example(
                    record.sequence,
                    labels.index(word),
                    None,
                    path,
                    record.line,
                    record.name,
                    chromosome_of(record.name),
                )


def _of_regions(files: Mapping[str, str], genome: Path, width: int | None, labels: Sequence[str]) -> Iterator[Example]:
    found = {word: read_bed(Path(path).expanduser()) for word, path in files.items()}
    regions = [region if width is None else region.resized(width) for one in found.values() for region in one]
    words = [word for word, one in found.items() for _ in one]
    for word, region, sequence in zip(words, regions, sequences_of(genome, regions), strict=True):
        name = region.name.strip(".") or f"{region.chromosome}:{region.start}-{region.end}({region.strand})"
        yield Example(sequence, labels.index(word), None, files[word], region.line, name, region.chromosome)


def _of_table(settings: Table, labels: Sequence[str], columns: Sequence[str]) -> Iterator[Example]:
    path = Path(settings.path).expanduser()
    classes = _class_words(settings, path, labels)
    header, rows = table(path, settings.columns)
    places = {name: header.index(name) for name in header}
    for line, row in rows:
        where = f"{settings.path}, line {line}"
        split = None if settings.split is None else _split_of(row[places[settings.split]], where, settings.split)
        chromosome = None if settings.chromosome is None else row[places[settings.chromosome]].strip()
        yield Example(
            normalised(row[places[settings.sequence]].strip()),
            classes[row[places[settings.label]].strip()],
            # What is given for training may still be split, if dev or test is not there.
            None if split == "train" else split,
            settings.path,
            line,
            "",
            chromosome,
            tuple(row[places[name]] if name in places and name not in settings.columns else "" for name in columns),
        )


def _class_words(settings: Table, path: Path, labels: Sequence[str]) -> dict[str, int]:
    """Return the class index of each value in a table's column of labels: all are words, or all are class indices."""
    header, rows = table(path, settings.columns)
    column = header.index(settings.label)
    firsts: dict[str, int] = {}
    for line, row in rows:
        firsts.setdefault(row[column].strip(), line)
    words = {label: index for index, label in enumerate(labels)}
    indices = {str(index): index for index in range(len(labels))}
    if not firsts.keys() <= words.keys() and firsts.keys() <= indices.keys():
        return indices
    for value, line in firsts.items():
        if value not in words:
            raise DataError(
                f"the class {shown(value)} is not one of the task's" if value else "the class is empty",
                where=f"{settings.path}, line {line}, column {settings.label}",
                fix=f"the classes are {', '.join(labels)}: correct the row, or name all classes in 'labels'",
            )
    return words


def _split_of(value: str, where: str, column: str) -> str:
    name = _SPLITS.get(value.strip().lower())
    if name is None:
        raise DataError(
            f"{shown(value)} is no split", where=f"{where}, column {column}", fix=f"one of {', '.join(_SPLITS)} is"
        )
    return name


def _check_classes(examples: Sequence[Example], labels: Sequence[str]) -> None:
    counts = Counter(example.label for example in examples)
    for index, label in enumerate(labels):
        if not counts[index]:
            raise DataError(
                f"no example is of the class '{label}'",
                where="config key 'tasks', labels",
                fix="give it some, or drop it",
            )
    firsts: dict[str, Example] = {}
    both = [(firsts.setdefault(one.sequence, one), one) for one in examples]
    both = [(first, one) for first, one in both if first.label != one.label]
    if both:
        named = "; ".join(f"{one.where} and {first.where}" for first, one in both[:_MOST_NAMED])
        more = f"; and {len(both) - _MOST_NAMED} more" if len(both) > _MOST_NAMED else ""
        raise DataError(
            f"{len(both)} sequence{'s are' if len(both) > 1 else ' is'} in two classes",
            where=f"{named}{more}",
            fix="a sequence has one class: take it out of the other file, or out of both",
        )


def _tell_repeats(examples: Sequence[Example]) -> None:
    """Warn of names that stand twice in a file: they are carried along only, so that nothing depends on them."""
    names = Counter((one.file, one.name) for one in examples if one.name)
    again = [(file, name) for (file, name), count in names.items() if count > 1]
    if again:
        _LOG.warning("%s: the name %s stands there more than once; so do %d others", *again[0], len(again) - 1)
