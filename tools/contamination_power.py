#!/usr/bin/env python
"""Count how often the check for contamination flags made-up base models, and print a Markdown table.

A made-up base model is a function from sequences to scores. It knows nothing, prefers what some composition favours, or
knows the labels of some items. It is as confident of an item that it does not know as of one that it knows, so its
confidence betrays nothing.

By hand:  PYTHONPATH=workflow python tools/contamination_power.py --data GUE --task prom_core_tata
"""

import argparse
import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from dnatune.data.records import Split, read_csv
from dnatune.data.sequences import base_codes, gc_content, reverse_complement, word_numbers
from dnatune.errors import ConfigurationError, run_script
from dnatune.evaluation import contamination, questions
from dnatune.settings.tasks import GUE

#: A tolerant memory recognises an item by this share of its words of so many bases; 5 % of changed bases leave .6.
WORD, SHARED = 8, 0.3
#: Standard deviation of a preference's noise, as a share of that of the preference.
NOISE = 0.5


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A made-up base model.

    Attributes:
        preference: `nothing`, `GC`, `AT`, or `words` (a random weight for each word of three bases).
        share: share of the items of these splits whose labels it knows.
        splits: the splits, by name.
        tolerant: whether it knows an item with some bases changed.
        other_strand: whether it knows the reverse complements of the items in place of the items.
    """

    preference: str = "nothing"
    share: float = 0.0
    splits: tuple[str, ...] = ()
    tolerant: bool = False
    other_strand: bool = False

    @property
    def name(self) -> str:
        """Return what it knows and prefers, as in the table."""
        preference = {"nothing": "", "words": "prefers random words of three bases"}
        preferred = preference.get(self.preference, f"prefers {self.preference}")
        if not self.share:
            return preferred or "knows nothing"
        known = f"knows {self.share:.0%} of {' + '.join(self.splits)}".replace("%", " %")
        form = ", tolerant" if self.tolerant else ", exact"
        strand = ", other strand" if self.other_strand else ""
        return f"{known}{form}{strand}" + (f"; {preferred}" if preferred else "")


def null_bases() -> list[MadeUp]:
    """Return the base models that know nothing."""
    return [MadeUp(preference) for preference in ("nothing", "GC", "AT", "words")]


def known_bases() -> list[MadeUp]:
    """Return the base models that know the labels of items."""
    scopes = [("test",), ("test", "dev"), ("test", "dev", "train")]
    found = [
        MadeUp(share=share, splits=splits, tolerant=tolerant)
        for splits in scopes
        for tolerant in (False, True)
        for share in (0.1, 0.2, 0.5)
    ]
    found += [MadeUp(preference, 0.2, scopes[2], True) for preference in ("GC", "AT")]
    return found + [MadeUp(share=share, splits=scopes[0], other_strand=True) for share in (0.1, 0.2, 0.5, 1.0)]


class Scores:
    """The scores of one draw of a made-up base model with two classes."""

    def __init__(self, base: MadeUp, splits: dict[str, Split], draw: int):
        """Draw the preference and the items that it knows."""
        self.base, self.seeds = base, [draw, zlib.crc32(base.name.encode())]
        generator = np.random.default_rng(self.seeds)
        self.weights = generator.normal(size=64)
        known = [
            (s, c) for name in base.splits for s, c in zip(splits[name].sequences, splits[name].labels, strict=True)
        ]
        chosen = generator.choice(len(known), round(base.share * len(known)), replace=False) if known else []
        turned = reverse_complement if base.other_strand else str
        self.known = {turned(known[i][0]): known[i][1] for i in chosen}
        self.words = _words(list(self.known)) if base.tolerant and self.known else None
        self.labels = np.array(list(self.known.values()), int)

    def __call__(self, split: Split) -> np.ndarray:
        """Return the log-probability of each label [items, 2]."""
        noise = [np.random.default_rng([*self.seeds, zlib.crc32(s.encode())]).normal() for s in split.sequences]
        score = np.array(noise)
        preference = self._preference(split.sequences)
        if preference is not None:
            score = preference + NOISE * score
        label = self._recalled(split.sequences)
        score = np.where(label < 0, score, np.where(label == 1, 1, -1) * np.abs(score))
        # One word is the likelier for every sequence, as with a real base model.
        return np.column_stack([-4 - score / 2, -6 + score / 2])

    def _preference(self, sequences: Sequence[str]) -> np.ndarray | None:
        if self.base.preference == "nothing":
            return None
        if self.base.preference == "words":
            counts = np.array([np.bincount(word_numbers(base_codes(s), 3)[0], minlength=64)[:64] for s in sequences])
            return counts @ self.weights / np.sqrt(len(sequences[0]))
        # About one standard deviation of GC content in these tasks.
        contents = np.array([gc_content(sequence) for sequence in sequences]) / 0.1
        return contents if self.base.preference == "GC" else -contents

    def _recalled(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the label that it knows for each sequence, and -1 where it knows none."""
        if self.words is None:
            return np.array([self.known.get(sequence, -1) for sequence in sequences])
        shared = (_words(sequences) @ self.words.T).toarray() / (len(sequences[0]) - WORD + 1)
        return np.where(shared.max(axis=1) >= SHARED, self.labels[shared.argmax(axis=1)], -1)


def _words(sequences: Sequence[str]) -> sparse.csr_array:
    """Return which words each sequence has [sequences, words]."""
    numbers = [np.unique(word_numbers(base_codes(sequence), WORD)[0]) for sequence in sequences]
    rows = np.repeat(np.arange(len(numbers)), [len(part) for part in numbers])
    columns = np.concatenate(numbers)
    # An N may give a number beyond the words; such words are all one.
    places = rows, np.minimum(columns, 4**WORD)
    return sparse.csr_array((np.ones(len(columns), np.float32), places), shape=(len(numbers), 4**WORD + 1))


def signs(base: MadeUp, splits: dict[str, Split], asked: questions.Questions, draws: range) -> Iterator[list[str]]:
    """Yield the signs of each draw of a made-up base model."""
    for draw in draws:
        answers = contamination.Answers.to(asked, Scores(base, splits, draw))
        yield contamination.measure(asked, answers).signs


def main() -> None:
    """Parse the command line, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per task of GUE")
    parser.add_argument("--task", required=True, help="name of a task with two classes and sequences of one length")
    parser.add_argument("--items", type=int, default=2_000, help="maximum number of test items (default: 2000)")
    parser.add_argument("--draws", type=int, default=10, help="draws of each model that knows items (default: 10)")
    parser.add_argument("--null-draws", type=int, default=1_000, help="draws of each other model (default: 1000)")
    options = parser.parse_args()
    task = GUE.get(options.task)
    if task is None or len(task.labels) != 2:
        raise ConfigurationError(
            f"'{options.task}' is no task of GUE with two classes", where="--task", fix="name one, e.g. prom_core_tata"
        )
    splits = {name: read_csv(options.data / task.name / f"{name}.csv", task) for name in ("train", "dev", "test")}
    asked = questions.prepare(*splits.values(), 2, options.items)
    print(f"{task.name}, {len(asked.test)} test items\n\n| base model | flagged | signs |\n|---|---|---|")
    for bases, draws in ((null_bases(), options.null_draws), (known_bases(), options.draws)):
        for base in bases:
            found = list(signs(base, splits, asked, range(draws)))
            counts = Counter(sign for raised in found for sign in raised)
            said = ", ".join(f"`{sign}` {count}" for sign, count in counts.most_common())
            print(f"| {base.name} | {sum(map(bool, found))} of {draws} | {said} |", flush=True)


if __name__ == "__main__":
    run_script(main)
