"""What stands beside an output: how its predictions were made."""

from typing import Literal

from dnatune.contracts import Nats, Record, Seconds
from dnatune.prediction.calibration import Calibration
from dnatune.training.record import Software


class Prediction(Record):
    """<output>.json: how the predictions of an output were made."""

    model: str
    """The run: model, task, optimizer and seed."""
    merged: bool
    """Whether the merged model was used; otherwise base + adapter."""
    largest_difference: Nats | None
    """Of a merged model, the largest difference between its log-probabilities and those of base + adapter on the test
    split, as `merge.json` of the results folder has it; `null` without that file."""
    digest_of_model: str
    """Digest of the files of the model."""
    task: str
    """Name of the task."""
    labels: list[str]
    """Answer of each class."""
    instruction: str
    """Question that the model was asked."""
    precision: Literal["fp32", "bf16", "fp16"]
    """Precision of the scores."""
    calibration: Calibration
    """Temperature by which log-probabilities were divided."""
    input: str
    """Name of the input file."""
    width: int | None
    """Bases of a window; `null` if sequences were scored as they are."""
    stride: int | None
    """Bases from the start of one window to that of the next; `null` without windows."""
    strand: Literal["forward", "reverse", "both"]
    """Strand that was scored; of both, probabilities are means."""
    rows: int
    """Rows of the output."""
    not_scored: dict[str, int]
    """How many rows have no probability, by reason."""
    seconds: Seconds
    """Wall time of scoring, by the process that ended it: less than all if it went on after a kill."""
    software: Software
    """What computed the predictions."""
