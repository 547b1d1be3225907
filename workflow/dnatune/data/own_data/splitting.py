"""Splits of examples that came without them: by clusters of relatives, by chromosome, or at random by class."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from dnatune.data.manifests import MadeSplit
from dnatune.data.own_data.examples import Example
from dnatune.data.positional_twins import too_many
from dnatune.data.resplit import clusters_of
from dnatune.errors import DataError
from dnatune.settings.own_data import SplitSettings
from dnatune.settings.tasks import SPLITS

#: A made split that gets a smaller part than this of what it should have of a class is refused.
_LEAST_PART = 0.5
#: Most chromosomes that a message names.
_MOST_NAMED = 8


@dataclasses.dataclass(frozen=True)
class Assigned:
    """Where each example goes.

    Attributes:
        splits: name of the split of each example.
        groups: cluster or chromosome of each example that was split, by number, -1 for others; None without groups.
        record: how it was done.
    """

    splits: Sequence[str]
    groups: np.ndarray | None
    record: MadeSplit


def assign(
    examples: Sequence[Example], settings: SplitSettings, labels: Sequence[str], similarity: float | None, task: str
) -> Assigned:
    """Return the split of each example; what belongs to dev or test already stays there, and what is missing is made.

    Args:
        examples: of all files.
        settings: how the missing splits are made.
        labels: the task's classes.
        similarity: see `clusters_of`; of a split by clusters.
        task: for the messages.

    Raises:
        DataError: a class has too few examples, or its relatives fill too much; the chromosomes are not known; or the
            sequences cannot be put into clusters.
    """
    splits = np.array([example.split or "train" for example in examples], dtype=object)
    made = [name for name in ("dev", "test") if name not in splits]
    free = np.flatnonzero(splits == "train")
    pool, where = [examples[number] for number in free], f"task {task}, split.by: {settings.by}"
    groups: np.ndarray | None = None
    if made:
        _check_sizes(pool, labels, made, where)
        groups = _groups(pool, settings.by, similarity, where)
        splits[free] = _drawn(pool, groups, settings, made, labels, where)
    whole = groups is not None and settings.by != "random"
    every = np.full(len(examples), -1)
    every[free] = groups if whole else -1
    chosen = [(one.chromosome, splits[number]) for number, one in zip(free, pool, strict=True)]
    record = MadeSplit(
        by=settings.by if made else None,
        made=made,
        seed=settings.seed if made and not isinstance(settings.test, tuple) else None,
        groups=int(groups.max()) + 1 if whole else None,
        largest=int(np.bincount(groups).max()) if whole else None,
        chromosomes={name: sorted({one for one, at in chosen if at == name}) for name in SPLITS}
        if made and settings.by == "chromosomes"
        else {},
        classes=_counts(splits, examples, labels),
    )
    return Assigned(splits.tolist(), every if whole else None, record)


def draw(groups: np.ndarray, classes: np.ndarray, wanted: Mapping[str, np.ndarray], seed: int) -> list[str]:
    """Return a split for each example such that no group is in two, with about as many of each class as wanted.

    The groups are shuffled. Test takes them in turn as long as none of its classes becomes too large, then dev; the
    others are training. Groups of one example fill each class to what is wanted; a large group goes to training.

    Args:
        groups: group of each example, numbered from 0 [n].
        classes: class index of each example [n].
        wanted: by split, the number of examples of each class [classes].
        seed: of the order.
    """
    counts = np.zeros((groups.max() + 1, classes.max() + 1), int)
    np.add.at(counts, (groups, classes), 1)
    place = np.full(len(counts), "train", dtype=object)
    order = np.random.default_rng(seed).permutation(len(counts))
    for name in sorted(wanted, reverse=True):
        room = wanted[name].copy()
        for group in order:
            if place[group] == "train" and (counts[group] <= room).all():
                place[group] = name
                room -= counts[group]
    return place[groups].tolist()


def _groups(pool: Sequence[Example], by: str, similarity: float | None, where: str) -> np.ndarray:
    """Return what stays together: the cluster or chromosome of each example by number, or its own number."""
    if by == "random":
        return np.arange(len(pool))
    if by == "chromosomes":
        unknown = next((example for example in pool if not example.chromosome), None)
        if unknown is not None:
            raise DataError(
                f"the chromosome of an example is not known: {unknown.where}",
                where=where,
                fix="name records as bedtools does (chr1:100-200), give BED files, or split by clusters",
            )
        return np.unique([example.chromosome for example in pool], return_inverse=True)[1]
    sequences = [example.sequence for example in pool]
    fix = "split by chromosome, or at random: split: {by: random}; relatives are then on both sides"
    if too_many(sequences):
        raise DataError("there are too many bases to look for relatives", where=where, fix=fix)
    try:
        return clusters_of(sequences, similarity)
    except DataError as error:
        raise DataError(error.what, where=where, fix=fix) from None


def _drawn(
    pool: Sequence[Example],
    groups: np.ndarray,
    settings: SplitSettings,
    made: Sequence[str],
    labels: Sequence[str],
    where: str,
) -> list[str]:
    """Return the split of each example of the pool, and check that each split has enough of every class."""
    classes = np.array([example.label for example in pool])
    if isinstance(settings.test, tuple):
        goes = _by_name(pool, settings, made, where)
        wanted = {name: np.ones(len(labels), int) for name in made}
    else:
        sizes = np.bincount(classes, minlength=len(labels))
        wanted = {name: np.maximum(1, np.rint(getattr(settings, name) * sizes)).astype(int) for name in made}
        # A chromosome has examples of all classes, in shares that nobody chose: only its size is looked at.
        whole = settings.by == "chromosomes"
        summed = {name: counts.sum(keepdims=True) for name, counts in wanted.items()}
        goes = draw(groups, classes * (not whole), summed if whole else wanted, settings.seed)
    counts = _counts(goes, pool, labels)
    for name, least in (*wanted.items(), ("train", np.ones(len(labels), int))):
        for label, number in zip(labels, least, strict=True):
            if counts[name][label] < max(1, _LEAST_PART * number):
                said = f"{name} would have {counts[name][label]} in place of {number} examples of class '{label}'"
                raise _uneven(said, pool, groups, settings.by, where)
    return goes


def _by_name(pool: Sequence[Example], settings: SplitSettings, made: Sequence[str], where: str) -> list[str]:
    """Return the split of each example by the chromosomes that are named."""
    places = {chromosome: name for name in made for chromosome in getattr(settings, name)}
    there = {example.chromosome for example in pool}
    missing = [chromosome for chromosome in places if chromosome not in there]
    if missing:
        raise DataError(
            f"no example is on {', '.join(missing)}", where=where, fix=f"the examples are on {_named(pool)}"
        )
    return [places.get(example.chromosome, "train") for example in pool]


def _uneven(said: str, pool: Sequence[Example], groups: np.ndarray, by: str, where: str) -> DataError:
    sizes = np.bincount(groups)
    if by == "chromosomes":
        fix = f"name others, as in dev: [chr8], test: [chr9]; the examples are on {_named(pool)}"
        return DataError(said, where=where, fix=fix)
    return DataError(
        f"{said}: the largest of {len(sizes)} clusters of relatives has {sizes.max()} of {len(pool)} examples",
        where=where,
        fix="give more examples that are no relatives; or split at random: split: {by: random}; relatives of test"
        " items are then trained on, and the report says how many",
    )


def _named(pool: Sequence[Example]) -> str:
    counts = Counter(example.chromosome for example in pool).most_common()
    more = f" and {len(counts) - _MOST_NAMED} more" if len(counts) > _MOST_NAMED else ""
    return ", ".join(f"{chromosome} ({count})" for chromosome, count in counts[:_MOST_NAMED]) + more


def _check_sizes(pool: Sequence[Example], labels: Sequence[str], made: Sequence[str], where: str) -> None:
    counts = Counter(example.label for example in pool)
    for index, label in enumerate(labels):
        if counts[index] < len(made) + 1:
            raise DataError(
                f"the class '{label}' has too few sequences to split: {counts[index]}",
                where=where,
                fix=f"give at least one for each of {', '.join(('train', *made))}; hundreds are worth a comparison",
            )


def _counts(splits: Sequence[str], examples: Sequence[Example], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    found = Counter((name, example.label) for name, example in zip(splits, examples, strict=True))
    return {name: {label: found[name, index] for index, label in enumerate(labels)} for name in SPLITS}
