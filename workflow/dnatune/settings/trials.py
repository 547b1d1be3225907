"""The learning-rate trials of an experiment: their places, rates and settings."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence

from dnatune.errors import ConfigurationError
from dnatune.settings import rate_grid
from dnatune.settings.grid import Run
from dnatune.settings.training import FinetuneSettings
from dnatune.settings.tuning import FineRate, Tuning

#: An `evaluation_steps` that no run reaches: the dev examples are scored after the last step and at no other.
_ONLY_AT_THE_END = 10**9
_PLACE = re.compile(r"([^/]+)/([^/]+)/([^/]+)/(?:rate(?P<rate>[0-9.e+-]+)|fine(?P<index>[0-9]+)/seed(?P<seed>[0-9]+))")


@dataclasses.dataclass(frozen=True)
class Trials:
    """The trials of every model, task and optimizer, in one step or in two.

    Attributes:
        tuning: the map `tuning`.
        runs: the grid of runs.
        finetune_settings: returns what decides a run.
    """

    tuning: Tuning
    runs: Sequence[Run]
    finetune_settings: Callable[[Run], FinetuneSettings]

    def rates(self, optimizer: str) -> list[float]:
        """Return the learning rates of the first step."""
        return rate_grid.learning_rates(self.tuning.rates[optimizer], self.tuning.trials)

    def fine_rates(self, optimizer: str) -> list[FineRate]:
        """Return the learning rates of the second step, in terms of the best of the first; none without that step."""
        if not self.tuning.fine:
            return []
        return [FineRate(factor=one) for one in rate_grid.fine_factors(self.rates(optimizer), self.tuning.fine)]

    def places(self, optimizer: str) -> list[str]:
        """Return the folders of an optimizer's trials of the first step."""
        return [f"rate{rate}" for rate in self.rates(optimizer)]

    def fine_places(self, optimizer: str) -> list[str]:
        """Return the folders of an optimizer's trials of the second step."""
        grid = itertools.product(range(len(self.fine_rates(optimizer))), self.tuning.fine_seeds)
        return [f"fine{index}/seed{seed}" for index, seed in grid]

    def settings(self, model: str, task: str, optimizer: str, rate: float) -> FinetuneSettings:
        """Return what decides a trial of the first step: a run but for what `tuning` says."""
        return self._settings(Run(model, task, optimizer, self.tuning.seed)).with_learning_rate(rate)

    def fine_settings(self, model: str, task: str, optimizer: str, seed: int) -> FinetuneSettings:
        """Return what decides a trial of the second step but for its rate, which the first step finds."""
        return self._settings(Run(model, task, optimizer, seed))

    def settings_at(self, place: str, best: float | None) -> FinetuneSettings:
        """Return the settings of the trial at `<model>/<task>/<optimizer>/rate<r>` or `…/fine<k>/seed<s>`.

        Args:
            place: of the trial.
            best: best rate of the first step, for a trial of the second.

        Raises:
            ConfigurationError: there is no such trial, or the best rate is missing.
        """
        found = _PLACE.fullmatch(place)
        cell = found.groups()[:3] if found else None
        if cell not in {(run.model, run.task, run.optimizer) for run in self.runs}:
            raise _no_trial(place)
        if found["rate"]:
            if float(found["rate"]) not in self.rates(cell[2]):
                raise _no_trial(place)
            return self.settings(*cell, float(found["rate"]))
        index, seed, rates = int(found["index"]), int(found["seed"]), self.fine_rates(cell[2])
        if index >= len(rates) or seed not in self.tuning.fine_seeds:
            raise _no_trial(place)
        if best is None:
            raise ConfigurationError(
                "the rate of a trial of the second step follows from the best of the first",
                where="command line, --choice",
                fix="name coarse.json of the optimizer",
            )
        return self.fine_settings(*cell, seed).with_learning_rate(rate_grid.fine_rate(best, rates[index].factor))

    def _settings(self, run: Run) -> FinetuneSettings:
        settings, tuning = self.finetune_settings(run), self.tuning
        dev = {"dev_examples": tuning.dev_examples}
        if settings.training.keep == "last":
            dev["evaluation_steps"] = _ONLY_AT_THE_END
        training = settings.training.model_copy(update=dev)
        return settings.model_copy(update={"budget": tuning.budget or settings.budget, "training": training})


def _no_trial(place: str) -> ConfigurationError:
    return ConfigurationError(
        f"'tuning' has no trial {place}",
        where="command line, --trial",
        fix="name it MODEL/TASK/OPTIMIZER/rateR, with a rate of 'tuning.rates', or …/fineK/seedS",
    )
