"""Constants and a tiny model, for every folder of tests."""

from collections.abc import Sequence
from pathlib import Path

from dnatune.data.prompts import render
from dnatune.data.records import Split
from dnatune.settings.sources import TinyModel
from dnatune.settings.tasks import GUE, Task
from dnatune.settings.training import Lora

ROOT = Path(__file__).resolve().parents[2]
TASK = GUE["prom_core_all"]
TINY = {"hidden_size": 32, "intermediate_size": 64, "vocabulary": 600}
LORA = Lora(rank=4, alpha=16, dropout=0.0)


def split_of(rows: Sequence[tuple[str, int]], task: Task = TASK) -> Split:
    """Return (sequence, class index) rows as a split of a task."""
    return Split(task.instruction, [sequence for sequence, _ in rows], [label for _, label in rows])


def rows_of(split: Split) -> list[tuple[str, int]]:
    """Return a split as (sequence, class index) rows."""
    return list(zip(split.sequences, split.labels, strict=True))


def make_tiny_model(folder: Path, rows: list[tuple[str, int]], **changes) -> Path:
    """Write a tiny model whose tokenizer is made from `rows`."""
    from dnatune.model.sources import make_tiny

    folder.mkdir(parents=True)
    prompt = render(TASK.instruction, "")
    prompts = [prompt + label for label in TASK.labels]
    make_tiny(TinyModel(**{**TINY, **changes}), [sequence for sequence, _ in rows], prompts, folder)
    return folder
