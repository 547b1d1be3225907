"""What is to be read with care: one list, the most important first."""

from collections.abc import Iterator

from dnatune.comparison.comparability import UNEQUAL_TERMS
from dnatune.comparison.results import Group
from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.report.sections import audit, contamination, learning_rates, plan, seeds
from dnatune.settings.tasks import Task

#: What each split is called, and what follows where all its items are of one class.
_LACKING = {
    "train": ("training", "so there was nothing to tell apart"),
    "dev": ("dev", "so there is no dev MCC, and dev loss and accuracy say how often that class is named"),
    "test": ("test", "so MCC and AUROC say nothing there"),
}
_UNEQUAL = {
    "unequal_budget": "budgets",
    "unequal_batch": "batch sizes",
    "unequal_training": "training settings",
    "unequal_inputs": "base models or training data",
    "mixed_code": "versions of dnatune",
}
_SIMULATED = (
    "The data are simulated and say nothing about real genomes. They come from a known generative model and show"
    " whether the workflow learns what there is to learn."
)


def all_cautions(evidence: Evidence) -> list[str]:
    """Return what is to be read with care; the first sentence of each says what it is, the rest explains it."""
    found = [
        *contamination.cautions(evidence),
        *plan.cautions(evidence),
        *audit.cautions(evidence),
        *_unequal(evidence),
        *(sentence for task in evidence.tasks.values() for sentence in _missing_classes(task, evidence)),
        *_unknown_tokens(evidence),
        *_lossy(evidence),
        *_divergences(evidence),
        *learning_rates.cautions(evidence),
        *seeds.cautions(evidence),
        *([_SIMULATED] if evidence.settings.simulated else []),
    ]
    return list(dict.fromkeys(found))


def first_sentence(caution: str) -> str:
    """Return the first sentence of a caution without its full stop, as a part of a list."""
    return caution.partition(". ")[0].removesuffix(".")


def _unequal(evidence: Evidence) -> Iterator[str]:
    """Yield in plain words what was not on equal terms, and where."""
    places: dict[str, list[str]] = {}
    for row in evidence.rows:
        for word in (row["flags"] or "").split():
            if word in UNEQUAL_TERMS:
                places.setdefault(word, []).append(evidence.title(row["model"], row["task"]))
    for word, found in places.items():
        place = "" if word == "mixed_code" else f"On {'; '.join(dict.fromkeys(found))}: "
        meaning = UNEQUAL_TERMS[word].meaning
        told = f"{place}{meaning}" if place else f"{meaning[0].upper()}{meaning[1:]}"
        yield f"Not on equal terms: {_UNEQUAL[word]} differ. {told}."


def _missing_classes(task: Task, evidence: Evidence) -> Iterator[str]:
    """Yield what it means that splits lack classes of the task."""
    for split, (name, meaning) in _LACKING.items():
        only = evidence.only_class(task, split)
        rows = evidence.audits[task.name].classes[split]
        if only is not None:
            yield f"One class: every {name} item of {task.name} is of class {only}, {meaning}."
        elif missing := [label for label in task.labels if not rows[label]]:
            yield f"Missing class: no {name} item of {task.name} is of class {' or '.join(missing)}."


def _unknown_tokens(evidence: Evidence) -> Iterator[str]:
    """Yield which tokenizers do not know what they read."""
    shares = {
        (run.record.model, run.record.task): run.record.unknown_tokens
        for group in evidence.groups
        for run in group.runs
    }
    for (model, task), share in shares.items():
        if share:
            yield (
                f"Unknown tokens: {100 * share:.3g} % of the tokens in the prompts of {task} are unknown to the"
                f" tokenizer of {model}. It reads all of them as one and the same token, so that what they say is lost."
            )


def _lossy(evidence: Evidence) -> Iterator[str]:
    """Yield that the merged models of some runs are not what was trained."""
    runs = [run for group in evidence.groups for run in group.completed if run.merge.storage.lossy]
    if not runs:
        return
    worst = max(runs, key=lambda run: run.merge.storage.update_error)
    storage = worst.merge.storage
    merge = worst.merge
    yield (
        f"Rounding to {storage.dtype} changed what was trained in {formatting.plural(len(runs), 'merged model')}."
        f" It changed most in {worst.record.place}, which keeps {storage.update_kept:.3f} of the update with an error"
        f" of {storage.update_error:.3f} and gives {merge.labels_changed} of {merge.items} items another label."
        " All scores here are of the models as trained; merge: {dtype: fp32} stores them so."
    )


def _divergences(evidence: Evidence) -> Iterator[str]:
    for group in evidence.groups:
        if len(group.completed) < len(group.runs):
            yield _divergence(group, evidence.title(group.model, group.task))


def _divergence(group: Group, place: str) -> str:
    diverged = [(run.seed, run.record.diverged) for run in group.runs if run.diverged]
    ends = "; ".join(
        f"seed {seed} at step {formatting.count(end.step)}, because {end.reason} (loss"
        f" {formatting.magnitude(end.loss)}, gradient norm {formatting.magnitude(end.gradient_norm)})"
        for seed, end in diverged
    )
    count = f"{len(diverged)} of {formatting.plural(len(group.runs), 'seed')}"
    return f"{group.optimizer} diverged on {place} with {count}, which no mean counts. It ended so: {ends}."
