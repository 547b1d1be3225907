"""A baseline that remembers the training split: what the closest twin of an item says of its label."""

from collections.abc import Sequence

import numpy as np

from dnatune.data.positional_twins import first_labels, too_many, twin_pairs
from dnatune.data.records import Split
from dnatune.evaluation.baselines import composition, linear
from dnatune.evaluation.baselines.applicability import NotApplicable


def memory(train: Split, dev: Split) -> linear.Probabilities:
    """Answer an item with a twin in training by the label of its closest twin, and every other item by k-mers.

    The dev split says how often an item has the label of its closest twin, the one with most bases in common. Where
    negatives were made from positives that is rarely so, and the label is then one that the twin does not have.

    Raises:
        NotApplicable: no dev item has a twin in training, or there are too many bases to look for twins.
    """
    if too_many(train.sequences, dev.sequences):
        raise NotApplicable("there are too many bases to look for twins")
    known = first_labels(train)
    places = {label: place for place, label in enumerate(sorted(set(train.labels)))}
    labels = np.array([places[label] for label in known.values()])

    def closest(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with a twin, and the class of the closest one of each as its place among the classes."""
        # A word is a repeat or not by training alone, so that an answer does not depend on the other items.
        found = twin_pairs(sequences, list(known), list(known))
        order = np.lexsort((found.known, -found.identity, found.asked))
        items, firsts = np.unique(found.asked[order], return_index=True)
        return items, labels[found.known[order][firsts]]

    items, named = closest(dev.sequences)
    if not len(items):
        raise NotApplicable("no dev item has a twin in training")
    truth = np.array([places.get(dev.labels[item], -1) for item in items])
    # Laplace's rule of succession keeps the share off 0 and 1.
    has = (int((truth == named).sum()) + 1) / (len(items) + 2)
    others = composition.kmers(train, dev)

    def probabilities(sequences: Sequence[str]) -> np.ndarray:
        found = others(sequences)
        items, named = closest(sequences)
        rest = found[items]
        rest[np.arange(len(items)), named] = 0
        rest *= (1 - has) / np.maximum(rest.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        rest[np.arange(len(items)), named] = has
        found[items] = rest
        return found

    return probabilities
