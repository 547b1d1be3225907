"""Classifiers without a language model: what a fine-tuned model must beat, and the Bayes optimum if it is known."""

from collections.abc import Callable, Sequence

import numpy as np

from dnatune.data.records import Split
from dnatune.errors import ConfigurationError
from dnatune.evaluation.baselines import composition, memory, places
from dnatune.evaluation.baselines.applicability import NotApplicable
from dnatune.evaluation.baselines.linear import Probabilities
from dnatune.settings.simulation import SimulationSettings

#: Takes n sequences and returns natural logarithms of the probability of each class [n, classes].
Scorer = Callable[[Sequence[str]], np.ndarray]

#: The fitted baselines by name. Each is fitted to the training split; what that leaves open is chosen on the dev split.
CLASSIFIERS: dict[str, Callable[[Split, Split], Probabilities]] = {
    "majority": composition.majority,
    "gc": composition.gc,
    "kmers": composition.kmers,
    "onehot": places.onehot,
    "positional": places.positional,
    "memory": memory.memory,
}


def fit(baseline: str, train: Split, dev: Split, classes: int, simulated: SimulationSettings | None = None) -> Scorer:
    """Fit a baseline to the training split; what training leaves open is chosen on the dev split.

    Args:
        baseline: a name of `CLASSIFIERS`, or `bayes`.
        train, dev: the splits.
        classes: number of classes; a class that the training split lacks gets probability 0, clipped to 1e-12.
        simulated: settings of the simulation that the data come from, for `bayes`.

    Raises:
        ConfigurationError: the baseline does not exist.
        NotApplicable: it does not suit the data.
    """
    if baseline == "bayes":
        return _bayes(simulated)
    if baseline not in CLASSIFIERS:
        raise ConfigurationError(
            f"unknown baseline '{baseline}'",
            where="evaluation.baselines",
            fix=f"choose one of: {', '.join(CLASSIFIERS)}",
        )
    seen = sorted(set(train.labels))
    probabilities = CLASSIFIERS["majority" if len(seen) == 1 else baseline](train, dev)

    def score(sequences: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(sequences), classes))
        found[:, seen] = probabilities(sequences)
        return np.log(np.clip(found, 1e-12, 1))

    return score


def _bayes(simulated: SimulationSettings | None) -> Scorer:
    if simulated is None:
        raise NotApplicable("the task's data are not simulated, so the best possible answer is unknown")
    from dnatune.data.simulation import bayes_posterior

    return lambda sequences: np.log(np.clip(bayes_posterior(sequences, simulated), 1e-12, 1))
