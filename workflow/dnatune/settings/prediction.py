"""Settings of predictions for new sequences."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dnatune.errors import ConfigurationError
from dnatune.settings.base import AsTuple, FilePath, Name, Settings, Text, refused, setting

TABLE, FASTA, REGIONS, VARIANTS = "table", "FASTA", "regions", "variants"
#: Kind of an input, by the ending of its name.
INPUTS = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), TABLE),
    **dict.fromkeys((".fa", ".fasta", ".fna", ".ffn"), FASTA),
    ".bed": REGIONS,
    ".vcf": VARIANTS,
}
PARQUET = ".parquet"
BEDGRAPHS = (".bedgraph", ".bg")
GZIP = ".gz"


class Reading(Settings):
    """How sequences are read and scored."""

    column: Text = setting("sequence", unit="name")
    """Column of a table with the sequences."""
    width: int | None = setting(None, ge=1, le=1_000_000, unit="bases")
    """Width of windows along the sequences of FASTA and the regions of BED. If absent, each is scored as a whole. Of a
    variant, the bases of the window around it; it must then be given."""
    stride: int | None = setting(None, ge=1, le=1_000_000_000, unit="bases")
    """Distance from the start of one window to that of the next. If absent, it is `width`."""
    strand: Literal["forward", "reverse", "both"] = setting("forward", unit="one of three words")
    """Strand to score. forward: the sequence as given, and the strand that BED names. reverse: the other one.
    both: the mean of the probabilities of both."""
    shown_class: Text | None = setting(None, alias="class", unit="label")
    """Class whose probability a bedGraph shows. If absent, it is the last label."""

    def options(self) -> list[str]:
        """Return the options of the predict stage that say the same."""
        keys = {field.alias or name: getattr(self, name) for name, field in Reading.model_fields.items()}
        return [word for key, value in keys.items() if value is not None for word in (f"--{key}", str(value))]

    def class_of(self, labels: Sequence[str]) -> str:
        """Return the class that a bedGraph shows, of a task with these labels.

        Raises:
            ConfigurationError: it is none of them.
        """
        chosen = labels[-1] if self.shown_class is None else self.shown_class
        if chosen not in labels:
            raise ConfigurationError(
                f"{chosen!r} is no label of the model",
                where="config key 'predict.class', or --class",
                fix=f"name one of: {', '.join(map(repr, labels))}",
            )
        return chosen

    def misfit(self, source: str, genome: str | None, outputs: Sequence[str]) -> tuple[str, str, str] | None:
        """Return what does not suit an input: the key of `Predict`, what is wrong and what to do; None if all does.

        Args:
            source: the input.
            genome: the file that it refers to.
            outputs: the files to write.
        """
        kind = INPUTS.get(ending(source))
        endings, places = f"{', '.join(INPUTS)}, and {GZIP}", "a bedGraph needs places, which only FASTA and BED have"
        wrong = [
            (kind is None, "input", f"the ending {ending(source)!r} says no kind of input", f"end it with: {endings}"),
            (genome and kind in (TABLE, FASTA), "genome", "only BED and VCF refer to a genome", "leave it out"),
            (not genome and kind in (REGIONS, VARIANTS), "genome", f"{kind} refer to a genome", "give its FASTA file"),
            (self.width and kind == TABLE, "width", "sequences of a table are not cut into windows", "leave it out"),
            (not self.width and kind == VARIANTS, "width", "the window around each variant has no width", "give it"),
            (self.stride and kind == VARIANTS, "stride", "variants have one window each", "leave it out"),
        ]
        for name in outputs:
            wrong += [
                (not _is_format(name), "outputs", f"the ending of {name} names no format", f"end it with {_FORMATS}"),
                (kind in (TABLE, VARIANTS) and ending(name) in BEDGRAPHS, "outputs", places, "end it with .tsv"),
            ]
        return next((tuple(said) for is_wrong, *said in wrong if is_wrong), None)

    @model_validator(mode="after")
    def _stride_has_width(self) -> Self:
        if self.stride is not None and self.width is None:
            raise refused("stride", "there are no windows", "give 'width' too")
        return self


class Predict(Reading):
    """Predictions for new sequences, `snakemake predict`; docs/predict.md."""

    input: FilePath = setting(unit="file")
    """Sequences: CSV or TSV with a header, FASTA, BED with `genome`, or a VCF of variants with `genome`; each may be
    compressed with gzip."""
    genome: FilePath | None = setting(None, unit="file")
    """FASTA file that BED and VCF refer to, plain or compressed with bgzip."""
    outputs: Annotated[tuple[Name, ...], AsTuple] = setting(
        ("predictions.tsv",), min_length=1, max_length=10, unit="list of names"
    )
    """Files to write into results/<name>/predict. Their endings say the format: .tsv, .tsv.gz, .parquet, .bedgraph or
    .bedgraph.gz."""
    model: Name | None = setting(None, unit="name")
    """Base model of the run to predict with. If absent, it is the first; so for the next three keys."""
    task: Name | None = setting(None, unit="name")
    """Task of the run."""
    optimizer: Name | None = setting(None, unit="name")
    """Optimizer of the run."""
    seed: Annotated[int, Field(ge=0)] | None = setting(None, unit="seed")
    """Seed of the run."""

    @model_validator(mode="after")
    def _suits_its_input(self) -> Self:
        if said := self.misfit(self.input, self.genome, self.outputs):
            raise refused(*said)
        return self


_FORMATS = ".tsv, .tsv.gz, .parquet, .bedgraph or .bedgraph.gz"


def ending(name: str) -> str:
    """Return what a file's name ends in, in lower case, without the ending of compression."""
    return PurePath(name.lower().removesuffix(GZIP)).suffix


def _is_format(name: str) -> bool:
    known = ending(name) in (".tsv", PARQUET, *BEDGRAPHS)
    return known and not (ending(name) == PARQUET and name.lower().endswith(GZIP))
