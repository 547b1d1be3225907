"""The control of each model and task: the classifier without fine-tuning that is best on dev."""

from collections.abc import Iterable, Mapping, Sequence

from dnatune import inference
from dnatune.comparison.results import Baseline, Group
from dnatune.settings.tasks import Task

#: What a classifier could reach that knew how simulated data were made: a ceiling and no control.
_CEILING = "bayes"


def choose_control(dev_scores: Mapping[str, float | None], metric: str) -> str | None:
    """Return the name of the control with the best dev score, the first of equals; None if no control has one.

    It needs no test score and must be asked before any is read: the best of six on the test items differs from a method
    of the same quality in 11 % of cases instead of 5 %.

    Args:
        dev_scores: of each control; None is one that has no score, because it does not suit the data.
        metric: that of the scores.
    """
    known = {name: score for name, score in dev_scores.items() if score is not None}
    sign = -1 if metric in inference.LOWER_IS_BETTER else 1
    return max(known, key=lambda name: sign * known[name], default=None)


def chosen_controls(
    baselines: Iterable[Baseline], groups: Sequence[Group], tasks: Mapping[str, Task]
) -> dict[tuple[str, str], Baseline]:
    """Return the control of each (model, task) that has one.

    Args:
        baselines: of all tasks; those of another base model do not count.
        groups: the runs, for their models.
        tasks: the tasks by name.
    """
    everything, found = list(baselines), {}
    for model, task in dict.fromkeys((group.model, group.task) for group in groups):
        candidates = {
            one.name: one
            for one in everything
            if one.task == task and one.model in (None, model) and one.name != _CEILING and one.applies
        }
        metric = tasks[task].metric
        name = choose_control({name: one.dev.score(metric) for name, one in candidates.items()}, metric)
        if name is not None:
            found[model, task] = candidates[name]
    return found
