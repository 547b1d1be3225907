"""The section on learning-rate trials."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dnatune.comparison import learning_rates as trials
from dnatune.comparison.results import Group
from dnatune.report import formatting as in_words
from dnatune.report import panels as panel_figures
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base, learning_rates
from dnatune.settings.rate_choice import Choice
from dnatune.settings.tasks import Task

_METRICS = {"dev_loss": "dev loss", "dev_mcc": "dev MCC", "dev_f1_macro": "dev macro F1"}


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of the learning-rate trials; it has no panels where rates were given."""
    choices = evidence.choices
    if not choices:
        return {"panels": []}
    found = learning_rates.panels(choices)

    def charts(draw: Callable[..., base.Drawing | None]) -> Mapping[str, Callable[..., base.Drawing | None]]:
        def chart(task: Task, members: Sequence[Group]) -> base.Drawing | None:
            return draw(found[members[0].model, task.name], evidence.looks)

        return {"": chart}

    return {
        "trials": len(choices[0].coarse),
        "fine": len(choices[0].fine),
        "seconds": trials.cost(choices),
        "of_trials": panel_figures.figure(evidence, "trials", charts(learning_rates.trials_chart)),
        "of_expected": panel_figures.figure(evidence, "expected", charts(learning_rates.expected_chart)),
        "panels": [
            {
                "title": evidence.title(model, task),
                "metric": _METRICS[members[0].metric],
                "dev_items": members[0].dev_items,
                "choices": [
                    {
                        **dict(choice),
                        "coarse": choice.coarse,
                        "fine": trials.fine_scores(choice),
                        "key": choice.metric,
                        "words": trials.remarks(choice),
                    }
                    for choice in members
                ],
                "class_share_loss": members[0].class_share_loss,
                "cautions": [*unequal_cost(members), *_of_the_data(members[0])],
            }
            for (model, task), members in found.items()
        ],
        "table": trials.tuning_text(choices),
    }


def cautions(evidence: Evidence) -> list[str]:
    """Return what is to be read with care because of how the learning rates were found."""
    if not evidence.choices:
        return [
            "Learning rates were given, not searched for. An optimizer whose rate suits it less looks worse than it is."
        ]
    found = learning_rates.panels(evidence.choices)
    said = []
    for (model, task), members in found.items():
        place = f" on {evidence.title(model, task)}" if len(found) > 1 else ""
        lost = [choice.optimizer for choice in members if "all_diverged" in choice.warnings]
        edge = [choice.optimizer for choice in members if {"lowest_rate", "highest_rate"} & set(choice.warnings)]
        if lost:
            said.append(f"Every trial of {in_words.listed(lost)} diverged{place}. Lower rates were not tried.")
        unlearnt = [choice.optimizer for choice in members if "class_shares_only" in choice.warnings]
        if unlearnt:
            names = in_words.listed(unlearnt)
            said.append(
                f"No trial of {names} learnt more than the class shares{place}. Train longer or try other rates."
            )
        if edge:
            said.append(
                f"The best rate of {in_words.listed(edge)} is the last tried{place}. A better one may lie beyond."
            )
        said += [sentence for sentence in unequal_cost(members) + _of_the_data(members[0]) if sentence]
    numbers = {len(choice.trials) for choice in evidence.choices}
    alike = f"Learning rates were searched for alike, in {in_words.in_word(min(numbers))} trials each."
    return said + ([alike] if len(numbers) == 1 else [])


def unequal_cost(choices: Sequence[Choice]) -> list[str]:
    """Return that completed trials of different optimizers took different numbers of gradient evaluations, if so.

    Less than a step apart is alike: a step of several stages may leave a rest of the budget.
    """
    completed = {
        choice.optimizer: [trial for trial in choice.trials if trial.status == "completed"] for choice in choices
    }
    each = {name: max(trial.gradient_evaluations for trial in found) for name, found in completed.items() if found}
    stages = [trial.gradient_evaluations // trial.steps for found in completed.values() for trial in found]
    if not each or max(each.values()) - min(each.values()) < max(stages):
        return []
    owners: dict[int, list[str]] = {}
    for name, number in each.items():
        owners.setdefault(number, []).append(name)
    costs = [f"{in_words.count(number)} with {in_words.listed(owners[number])}" for number in sorted(owners)]
    return [
        "Trials were as many but not of equal cost. Gradient evaluations of one that completed:"
        f" {'; '.join(costs)}. The more a trial costs, the more work went into the search for that rate;"
        " tuning.budget in gradient_evaluations makes them alike."
    ]


def _of_the_data(choice: Choice) -> list[str]:
    sentences = {
        "few_dev_items": f"The rates were chosen on {choice.dev_items} dev items, which are few: the order of close"
        " rates is mostly chance.",
        "missing_dev_classes": "The dev items that were scored lack a class of the task, so that a metric of classes"
        " tells little there.",
        "undefined_metric": "They are all of one class, where MCC is not defined: the rates were chosen by the dev loss"
        " in its place.",
    }
    return [sentence for word, sentence in sentences.items() if word in choice.warnings]
