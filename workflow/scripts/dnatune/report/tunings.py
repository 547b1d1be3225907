"""The section on learning-rate trials."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from dnatune import figures, tuning_figures
from dnatune import tuning as trials
from dnatune.report.evidence import Evidence

_METRICS = {"dev_loss": "dev loss", "dev_mcc": "dev MCC", "dev_f1_macro": "dev macro F1"}


def tuning(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of the learning-rate trials; it has no panels where rates were given."""
    choices, looks = evidence.choices, figures.palette(evidence.groups)
    if not choices:
        return {"panels": []}
    found = tuning_figures.panels(choices)
    return {
        "trials": len(choices[0]["trials"]),
        "seconds": trials.cost(choices),
        "panels": [
            {
                "title": f"{task}, {model}" if evidence.several_models else task,
                "metric": _METRICS[members[0]["metric"]],
                "dev_items": members[0]["dev_items"],
                "charts": [
                    # The SVG is made here from data that the library escapes.
                    Markup(figures.embedded(chart, f"{kind}-{number}"))  # noqa: S704
                    for kind, chart in (
                        ("trials", tuning_figures.trials_chart(members, looks)),
                        ("expected", tuning_figures.expected_chart(members, looks)),
                    )
                    if chart is not None
                ],
                "choices": [{**choice, "key": choice["metric"], "words": words(choice)} for choice in members],
                "cautions": _of_the_data(members[0]),
            }
            for number, ((model, task), members) in enumerate(found.items(), start=1)
        ],
        "table": trials.tuning_text(choices),
    }


def words(choice: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of an optimizer's choice, in plain words."""
    rates = ", ".join(f"{trial['learning_rate']:g}" for trial in choice["trials"])
    lost = ", ".join(f"{trial['learning_rate']:g}" for trial in choice["trials"] if trial["status"] == "diverged")
    chosen = f"{choice['learning_rate']:g}"
    sentences = {
        "all_diverged": f"Every trial diverged ({rates}). The runs took {chosen}, which lasted longest; they say"
        " nothing of the optimizer at a rate that suits it. Try lower rates.",
        "lowest_rate": f"The best rate, {chosen}, is the lowest tried: a lower one may be better.",
        "highest_rate": f"The best rate, {chosen}, is the highest tried: a higher one may be better.",
        "some_diverged": f"Trials diverged: {lost}.",
        "tied": f"Another rate scored the same as {chosen}; the dev loss, then the lower rate, decided.",
    }
    return [sentence for word, sentence in sentences.items() if word in choice["warnings"]]


def _of_the_data(choice: Mapping[str, Any]) -> list[str]:
    sentences = {
        "few_dev_items": f"The rates were chosen on {choice['dev_items']} dev items, which are few: the order of close"
        " rates is mostly chance.",
        "missing_dev_classes": "The dev items that were scored lack a class of the task, so that a metric of classes"
        " tells little there.",
    }
    return [sentence for word, sentence in sentences.items() if word in choice["warnings"]]
