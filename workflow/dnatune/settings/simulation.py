"""Settings of the simulator of core promoters, and where the elements of a promoter stand."""

import dataclasses
from typing import Self

from pydantic import model_validator

from dnatune.settings.base import Number, Settings, refused, setting


@dataclasses.dataclass(frozen=True)
class Element:
    """Where an element of a promoter stands.

    Attributes:
        name: `tata`, `inr` or `dpe`.
        offset: 0-based column of its first base minus that of base +1 (there is no position 0, so offset −1 is
            position −1 and offset 0 is position +1).
        width: its length, bp.
    """

    name: str
    offset: int
    width: int


TATA, INR, DPE = Element("tata", -31, 15), Element("inr", -2, 8), Element("dpe", 25, 9)


class SimulationSettings(Settings):
    """Settings of the simulator, the keys of `data.simulated`.

    The default frequencies of the elements are far above those of a genome, on purpose: see `docs/simulated-data.md`.
    """

    train_size: int = setting(20000, ge=1, le=100_000_000, unit="examples")
    """Size of the training split."""
    dev_size: int = setting(2000, ge=1, le=100_000_000, unit="examples")
    """Size of the dev split."""
    test_size: int = setting(4000, ge=1, le=100_000_000, unit="examples")
    """Size of the test split."""
    seed: int = setting(0, ge=0, unit="seed")
    """Seed of the sequences. Splits and seeds are independent streams of random numbers."""
    length: int = setting(70, ge=1, le=1_000_000, unit="bp")
    """Length of every sequence."""
    tss_column: int = setting(33, ge=0, le=1_000_000, unit="column, counted from 0")
    """Column of the transcription start site."""
    promoter_fraction: Number = setting(0.5, ge=1e-6, le=0.999999, unit="share")
    """Share of promoters among the sequences."""
    promoter_gc: Number = setting(0.55, ge=1e-6, le=0.999999, unit="share")
    """GC content of promoters outside their elements."""
    background_gc: Number = setting(0.48, ge=1e-6, le=0.999999, unit="share")
    """GC content of non-promoters."""
    tata_probability: Number = setting(0.75, ge=0, le=1, unit="probability")
    """Probability that a promoter has a TATA box."""
    inr_probability: Number = setting(0.5, ge=0, le=1, unit="probability")
    """Probability that a promoter has an initiator."""
    dpe_probability: Number = setting(0.3, ge=0, le=1, unit="probability")
    """Probability that a promoter has a downstream promoter element."""
    tata_jitter: int = setting(2, ge=0, unit="bp in either direction")
    """Largest shift of the TATA box from its place. All shifts are equally likely."""
    inr_jitter: int = setting(1, ge=0, unit="bp in either direction")
    """Largest shift of the initiator from its place."""
    dpe_jitter: int = setting(1, ge=0, unit="bp in either direction")
    """Largest shift of the downstream promoter element from its place."""

    def placements(self, element: Element) -> range:
        """Return the 0-based columns that the element's first base may stand in."""
        first, jitter = self.tss_column + element.offset, self.jitter(element)
        return range(first - jitter, first + jitter + 1)

    def probability(self, element: Element) -> float:
        """Return the probability that a promoter has the element."""
        return getattr(self, f"{element.name}_probability")

    def jitter(self, element: Element) -> int:
        """Return the element's largest shift in either direction, bp."""
        return getattr(self, f"{element.name}_jitter")

    @model_validator(mode="after")
    def _elements_fit(self) -> Self:
        """Refuse elements that leave the sequence or can overlap: the likelihood would not factorise."""
        previous_end, previous = 0, None
        for element in (TATA, INR, DPE):
            starts = self.placements(element)
            if starts[0] < previous_end:
                raise self._overlap(element, previous, previous_end)
            previous_end, previous = starts[-1] + element.width, element
        if previous_end > self.length:
            raise refused(
                "length",
                f"{self.length} bp are too short: with tss_column {self.tss_column} and "
                f"{previous.name}_jitter {self.jitter(previous)} the elements need {previous_end} bp",
                f"set length to {previous_end} or more, or lower tss_column or {previous.name}_jitter",
            )
        return self

    def _overlap(self, element: Element, previous: Element | None, previous_end: int) -> Exception:
        first = self.placements(element)[0]
        if previous is None:
            return refused(
                "tss_column",
                f"with tss_column {self.tss_column} and {element.name}_jitter {self.jitter(element)} "
                f"the {element.name} element could begin at column {first}, before the sequence",
                f"set tss_column to {self.tss_column - first} or more, or lower the jitter",
            )
        wider = max((element, previous), key=self.jitter)
        return refused(
            f"{wider.name}_jitter",
            f"the {previous.name} and {element.name} elements could overlap "
            f"(jitter {self.jitter(previous)} and {self.jitter(element)} bp)",
            f"lower {previous.name}_jitter and {element.name}_jitter by {previous_end - first} bp in sum",
        )
