"""The control of each model and task: the classifier without fine-tuning that is best on dev."""

from collections.abc import Iterable, Mapping

from dnatune import inference
from dnatune.comparison.results import Baseline
from dnatune.errors import DataError


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
    names: Mapping[tuple[str, str], str | None], baselines: Iterable[Baseline]
) -> dict[tuple[str, str], Baseline]:
    """Return the control of each (model, task) that has one.

    Args:
        names: of the control of each (model, task), from its plan; None if it has none.
        baselines: of all tasks and models.

    Raises:
        DataError: a control was not scored.
    """
    scored = {(one.model, one.task, one.name): one for one in baselines}
    found = {}
    for (model, task), name in names.items():
        if name is None:
            continue
        control = scored.get((None, task, name)) or scored.get((model, task, name))
        if control is None:
            raise DataError(
                f"the control '{name}' of {model} on {task} is not among the baselines that were scored",
                where="plan.json",
                fix="run the workflow again, which scores it",
            )
        found[model, task] = control
    return found
