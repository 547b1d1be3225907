"""Settings of a task whose data are the user's own files: which they are, and how splits are made of them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from dnatune.settings.base import AsTuple, FilePath, Number, Settings, Text, refused, setting


def _stripped(text: str) -> str:
    if text != text.strip():
        raise PydanticCustomError("outer_space", "it begins or ends with white space, and the prompt ends with a space")
    return text


Label = Annotated[Text, Field(max_length=200), AfterValidator(_stripped)]
#: How a user's own examples may come; one of them.
KINDS = ("fasta", "bed", "table")
_Share = Annotated[Number, Field(gt=0, lt=1)]
_Chromosomes = Annotated[tuple[Text, ...], AsTuple, Field(min_length=1)]


def in_yaml(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Return entries of `tasks` as the lines that a user may put into a configuration."""
    text = yaml.safe_dump(
        {"tasks": list(tasks)}, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return textwrap.indent(text.rstrip(), "    ")


class Table(Settings):
    """A table of sequences with their classes."""

    path: FilePath = setting(unit="file")
    """CSV or TSV, plain or gzip; columns are separated by tabs, commas or semicolons."""
    sequence: Text = setting("sequence", unit="name of a column")
    """Column of the sequences."""
    label: Text = setting("label", unit="name of a column")
    """Column of the classes, as words or as class indices."""
    split: Text | None = setting(None, unit="name of a column")
    """Column that says which split a row belongs to: train, dev (or val, valid, validation) or test."""
    chromosome: Text | None = setting(None, unit="name of a column")
    """Column of the chromosomes, for a split by chromosome."""

    @property
    def columns(self) -> list[str]:
        """Return the columns that are used."""
        return [name for name in (self.sequence, self.label, self.split, self.chromosome) if name is not None]


class Examples(Settings):
    """Files of examples: FASTA or BED per class, or one table."""

    fasta: dict[Label, FilePath] | None = setting(None, unit="map of class to file", min_length=1)
    """FASTA file of each class, plain or gzip. A relative path counts from the folder in which snakemake is started, or
    that of its --directory."""
    bed: dict[Label, FilePath] | None = setting(None, unit="map of class to file", min_length=1)
    """BED file of each class, plain or gzip: regions of `genome`, of the minus strand as their reverse complement."""
    genome: FilePath | None = setting(None, unit="file")
    """FASTA file of the genome of `bed`, plain or gzip. It needs no index."""
    width: int | None = setting(None, ge=1, le=10_000_000, unit="bases")
    """Width of the window around the middle of each region of `bed` that is taken in place of the region."""
    table: Table | None = setting(None, unit="map")
    """One table of sequences and classes, with any names of columns."""

    @property
    def kind(self) -> str | None:
        """Return which of `KINDS` is given."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), None)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Return the classes in the order of the files; None of a table, which has them in a column."""
        files = self.fasta or self.bed
        return None if files is None else tuple(files)

    @property
    def paths(self) -> list[str]:
        """Return all files, as configured."""
        named = [*(self.fasta or self.bed or {}).values()]
        return [*named, *filter(None, (self.genome, self.table and self.table.path))]

    @model_validator(mode="after")
    def _kinds_fit(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise refused(given[1], f"{' and '.join(given)} are given", "keep one; take dev and test by these names")
        for key in ("genome", "width"):
            if getattr(self, key) is not None and self.bed is None:
                raise refused(key, f"'{key}' goes with 'bed', which is not given", "give 'bed', or take the key out")
        return self


class OtherSplit(Examples):
    """Files of a split that is there already."""

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.kind is None:
            raise refused("", "no file is given", f"give one of {', '.join(KINDS)}")
        return self


class SplitSettings(Settings):
    """How the splits that are not there are made."""

    by: Literal["clusters", "chromosomes", "random"] = setting("clusters", unit="one of three words")
    """clusters: similar sequences stay together, so that no relative of a test sequence is trained on. chromosomes:
    each chromosome goes to one split whole. random: each class is drawn from, whatever the sequences share."""
    dev: _Share | _Chromosomes = setting(0.1, unit="share or list of chromosomes")
    """Part of the examples for the dev split, or its chromosomes by name."""
    test: _Share | _Chromosomes = setting(0.1, unit="share or list of chromosomes")
    """Part of the examples for the test split, or its chromosomes by name."""
    seed: int = setting(0, ge=0, unit="seed")
    """Seed of the draw. The same files and seed give the same splits."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        named = [key for key in ("dev", "test") if isinstance(getattr(self, key), tuple)]
        if named and self.by != "chromosomes":
            raise refused(named[0], f"chromosomes are named and the split is by {self.by}", "add by: chromosomes")
        if len(named) == 1:
            raise refused(named[0], f"'{named[0]}' names chromosomes and the other gives a share", "name both, or none")
        if named and (both := set(self.dev) & set(self.test)):
            raise refused("test", f"{min(both)} is in dev and in test", "name each chromosome once")
        if not named and self.dev + self.test >= 1:
            raise refused("test", "dev and test leave nothing for training", "give smaller shares")
        return self


class OwnData(Examples):
    """The files of a task of the user's own, and how its splits are made."""

    dev: OtherSplit | None = setting(None, unit="map")
    """Files of the dev split, if it is there already. If absent, it is made."""
    test: OtherSplit | None = setting(None, unit="map")
    """Files of the test split, if it is there already. If absent, it is made."""
    split: SplitSettings | None = setting(None, unit="map")
    """How the splits that are not there are made. If absent, by clusters, with a tenth for dev and a tenth for test."""

    @property
    def parts(self) -> dict[str, Examples]:
        """Return the files of each split that has its own; those of `train` are split if others have none."""
        given = {"train": self, "dev": self.dev, "test": self.test}
        return {name: part for name, part in given.items() if part is not None}

    @property
    def all_paths(self) -> list[str]:
        """Return the files of all splits, each once."""
        return list(dict.fromkeys(path for part in self.parts.values() for path in part.paths))

    @property
    def splitting(self) -> SplitSettings:
        """Return how the splits that are not there are made."""
        return self.split or SplitSettings()

    def genome_of(self, part: Examples) -> str | None:
        """Return the genome of a split's regions; one that has none of its own is on the task's."""
        return part.genome or self.genome

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        for name, part in self.parts.items():
            if part.bed is not None and self.genome_of(part) is None:
                below = "" if part is self else f"{name}."
                raise refused(f"{below}genome", "regions are given and no genome", "add genome: your-genome.fa.gz")
        left = next((key for key in ("dev", "test", "split") if getattr(self, key) is not None), None)
        if self.kind is None and left:
            raise refused(left, f"'{left}' goes with files of one's own", f"give {', '.join(KINDS)}, or take it out")
        if self.splitting.by == "chromosomes" and self.table is not None and self.table.chromosome is None:
            raise refused(
                "table.chromosome", "a split by chromosome needs a column of chromosomes", "name it: chromosome: COLUMN"
            )
        return self

    @classmethod
    def of(cls, entry: Any) -> Self | None:
        """Return what an entry of `tasks` says of files; None if it says nothing."""
        return None if entry.kind is None else cls(**{key: getattr(entry, key) for key in cls.model_fields})
