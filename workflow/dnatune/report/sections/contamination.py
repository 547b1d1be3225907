"""Whether base models had seen the test set."""

from collections.abc import Mapping
from typing import Any

from dnatune.evaluation.contamination import LEVEL, TESTS, Contamination
from dnatune.report import formatting
from dnatune.report.evidence import Evidence

_OR_THE_TASK = (
    " A model that learnt test items does so; so does one that was trained on the task's training split or on the same"
    " sequences from another source, and one that knows a feature of the classes that k-mers do not see."
)
_NOT_ASKED = (
    "Not asked: {models}. A classification head is new, and a model with it writes no tokens, so there is no score"
    " before fine-tuning and no search for signs that it has seen test items."
)
#: What each sign means and what else could raise it, in plain words; a number is put in by its name.
_SIGNS = {
    "knows_the_labels": "It knows labels that composition does not explain (p {labels} over test items, {with_dev} with"
    " dev items){hard}." + _OR_THE_TASK,
    "knows_the_other_strand": "Asked the reverse complements of the test items, it knows labels that composition does"
    " not explain (p {other_strand}){other_hard}." + _OR_THE_TASK,
    "as_good_as_trained": "Without any training it reaches an MCC of {mcc:.3f}, as much as a classifier of composition"
    " that was trained for the task ({control_mcc:.3f}). A model that was never shown the task cannot; one that was"
    " trained on the task's training split, or on the same sequences from another source, can.",
    "as_good_in_another_order": "With the label words in another order its answers reach an MCC of"
    " {permuted_words_mcc:.3f}, as much as a classifier of composition that was trained for the task"
    " ({control_mcc:.3f}). A model that was never shown the task cannot tell its classes apart so well; one that was"
    " trained under other words on the task's training split, or on the same sequences from another source, can.",
    "knows_the_items": "When one base in twenty of the test items is changed it loses {loss:.0f} points of accuracy"
    " more than k-mers do, as a model that knows these sequences does; a trained model that depends on single bases far"
    " more than k-mers do would lose as much.",
    "better_than_on_dev": "Against k-mers it does {gap:.0f} points better on test items than on dev items, as a model"
    " that has seen the former does; splits that differ in a way that k-mers do not see would show the same.",
    "in_manifest": "{listed} of the test items are in the manifest of what it was trained on, and nothing else could"
    " put them there.",
}


def content(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section on whether base models knew the test items."""
    classifiers = evidence.classifiers
    if not (evidence.contaminations or classifiers):
        return None
    sources = sorted({one.source for one in evidence.published})
    bases = [_base(one, evidence) for one in evidence.contaminations]
    not_asked = _NOT_ASKED.format(models=formatting.listed(classifiers)) if classifiers else None
    return {"bases": bases, "not_asked": not_asked, "level": formatting.level(LEVEL), "sources": sources}


def _base(found: Contamination, evidence: Evidence) -> dict[str, Any]:
    return {
        **dict(found),
        "title": evidence.title(found.model, found.task),
        "verdict": _verdict(found),
        "badge": "trained on the task" if _task_alone(found) else "seen before" if found.signs else "",
        "reasons": reasons(found),
    }


def _verdict(found: Contamination) -> str:
    """Return in words what contamination.json says."""
    if _task_alone(found):
        return f"{found.model} has probably been trained on {found.task}, its test items perhaps among it."
    if found.signs:
        return f"{found.model} has probably seen test items of {found.task} before."
    if found.mcc is None:
        return (
            f"Whether {found.model} has seen test items of {found.task} before cannot be told from its answers:"
            " the items that it was asked are all of one class."
        )
    if found.mcc_within_gc_p <= LEVEL / TESTS:
        return (
            f"{found.model} answers {found.task} better than chance without training (MCC {found.mcc:.3f}), as a"
            " preference that follows composition can; there is no sign that it has seen the test items."
        )
    return f"There is no sign that {found.model} has seen test items of {found.task} before."


def _task_alone(found: Contamination) -> bool:
    """Return whether all signs are such as the task's training split raises as well as its test split."""
    return bool(found.signs) and not {"knows_the_items", "better_than_on_dev", "in_manifest"} & set(found.signs)


def reasons(found: Contamination) -> list[str]:
    """Return one sentence a sign."""
    numbers = {
        **dict(found),
        "labels": formatting.p(found.labels_p),
        "with_dev": formatting.p(found.labels_with_dev_p),
        "other_strand": formatting.p(found.other_strand_p),
        "hard": _hard(found, found.hard_accuracy),
        "other_hard": _hard(found, found.other_strand_hard_accuracy),
        "loss": 100 * found.excess_loss,
        "gap": 100 * found.dev_gap,
        "listed": formatting.count(len(found.in_manifest)),
    }
    return [_SIGNS[sign].format(**numbers) for sign in found.signs]


def _hard(found: Contamination, accuracy: float | None) -> str:
    """Return how often a model is right where k-mers err; nothing if they never do."""
    if accuracy is None:
        return ""
    items, chance = formatting.count(found.hard_items), formatting.percent(1 / found.classes)
    right = formatting.percent(accuracy)
    return f": of the {items} test items that k-mers get wrong it names {right} right, by chance {chance}"


def cautions(evidence: Evidence) -> list[str]:
    """Return what is to be read with care because of base models."""
    return [f"{_verdict(one)} {' '.join(reasons(one))}" for one in evidence.contaminations if one.signs]
