"""Settings of predictions for new sequences."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dnatune.settings.base import AsTuple, FilePath, Name, Settings, Text, refused, setting


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
        """Return the class that a bedGraph shows, of a task with these labels."""
        return labels[-1] if self.shown_class is None else self.shown_class

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
