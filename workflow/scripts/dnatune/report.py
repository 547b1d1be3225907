"""The page that compares optimizers: verdicts, tables, figures and how it was made, in one file that opens offline."""

import base64
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from dnatune import figures, report_tuning
from dnatune.comparison import Baseline, FinishedRun, Group, comparison_text, confusion_of
from dnatune.pairs import tests_text
from dnatune.tasks import Task

_HERE = Path(__file__).parent
_METRICS = {"mcc": "MCC", "f1_macro": "macro F1"}
_BASELINES = {"majority": "majority class", "gc": "GC content", "kmers": "k-mers", "bayes": "Bayes optimum"}
_FLAGS = {
    "unequal_budget": "the runs took different numbers of gradient evaluations",
    "unequal_batch": "the runs used different batch sizes",
    "mixed_code": "the runs were made by different versions of dnatune's code",
}
_INPUTS = {"model": ("download", "digest of the base model"), "train": ("prepare", "digest of the training split")}
_MOST_SEEDS_SHOWN = 4
_AXES = ("optimizer", "task", "model", "seed")


def page(
    settings: Mapping[str, Any],
    tasks: Mapping[str, Task],
    groups: Sequence[Group],
    baselines: Sequence[Baseline],
    rows: Sequence[Mapping[str, Any]],
    tests: Sequence[Mapping[str, Any]],
    audits: Mapping[str, Mapping[str, Any]],
    choices: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return report.html.

    Args:
        settings: what `Configuration.compare_settings` returns.
        tasks: the tasks by name.
        groups: the runs, one group an optimizer of a model and task.
        baselines: the baselines of all tasks.
        rows: `comparison_rows` of the same groups and baselines.
        tests: `pair_rows` of the same groups.
        audits: audit.json by task.
        choices: choice.json of every model, task and optimizer; none where learning rates were given.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(_HERE),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=_score, count=_count, duration=_duration, percent=_percent, rate=_rate)
    environment.filters.update(signed=_signed, p=_p, between=_between, download=_download)
    several_models = _several_models(groups)
    return environment.get_template("report.html.j2").render(
        name=settings["name"],
        simulated=settings["simulated"],
        style=Markup((_HERE / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
        overview=_overview(groups),
        verdicts=_verdicts(tasks, groups, tests),
        testing=settings["comparison"],
        findings=_findings(tasks, groups, baselines),
        cautions=_cautions(groups, rows),
        several_models=several_models,
        leaderboards=[_leaderboard(task, groups, rows) for task in tasks.values()],
        panels=[
            _panel(number, f"{task}, {model}" if several_models else task, tasks[task], members, groups, baselines)
            for number, ((model, task), members) in enumerate(figures.panels(groups), start=1)
        ],
        runs=[(run, _run_score(run, tasks[run.task])) for group in groups for run in group.runs],
        audits=[_audit(task, audits[task.name], groups, rows) for task in tasks.values()],
        tuning=report_tuning.section(choices, figures.palette(groups)),
        stages=_stages(groups),
        most_points=figures.MOST_POINTS,
        table=_download(comparison_text(rows)),
        tests_table=_download(tests_text(tests)),
    )


def _download(table: str) -> str:
    return f"data:text/tab-separated-values;charset=utf-8;base64,{base64.b64encode(table.encode()).decode()}"


def _panel(
    number: int,
    title: str,
    task: Task,
    members: Sequence[Group],
    groups: Sequence[Group],
    baselines: Sequence[Baseline],
) -> dict[str, Any]:
    """Return the figures and matrices of one model and task."""
    palette = figures.palette(groups)
    controls = [
        (_baseline_name(baseline.name), baseline.metrics[task.metric])
        for baseline in baselines
        if baseline.task == task.name
    ]
    rivals = [group for group in groups if group.task == task.name]
    charts = {
        "scores": figures.score_chart(members, rivals, controls, task.metric, _metric_name(task.metric), palette),
        "loss": figures.curve_chart(members, "loss", palette),
        "dev_loss": figures.curve_chart(members, "dev_loss", palette),
        "calibration": figures.calibration_chart(members, palette),
    }
    return {
        "title": title,
        "charts": {
            # The SVG is made here from data that the library escapes.
            name: None if chart is None else Markup(figures.embedded(chart, f"{name}-{number}"))  # noqa: S704
            for name, chart in charts.items()
        },
        "diverged": any(run.diverged for group in members for run in group.runs),
        "confusions": [_confusion(group, task) for group in members],
    }


# Words


def _overview(groups: Sequence[Group]) -> str:
    """Return what was compared; the cost of a run is named where all have the same."""
    runs = [run for group in groups for run in group.runs]
    parts = [_some(list(dict.fromkeys(getattr(group, axis) for group in groups)), axis) for axis in _AXES[:3]]
    parts.append(_some(sorted({run.seed for run in runs}), "seed"))
    budgets = {run.record["gradient_evaluations"] for run in runs if not run.diverged}
    batches = {run.record["global_batch_size"] for run in runs}
    cost = ""
    if len(budgets) == len(batches) == 1:
        cost = f" Each {'completed ' if any(run.diverged for run in runs) else ''}run took"
        cost += f" {_count(budgets.pop())} gradient evaluations over batches of {_count(batches.pop())} examples."
    return f"{_plural(len(runs), 'run')}: {', '.join(parts)}.{cost}"


def _some(names: Sequence[Any], noun: str) -> str:
    return f"{_plural(len(names), noun)} ({', '.join(map(str, names))})"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _verdicts(
    tasks: Mapping[str, Task], groups: Sequence[Group], tests: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the pairs of each model and task, those that are decided first."""
    several_models = _several_models(groups)
    return [
        {
            "title": f"{task}, {model}" if several_models else task,
            "metric": _metric_name(tasks[task].metric),
            "pairs": sorted(
                (
                    {**row, "mcnemar": float(np.median(single)) if single else None}
                    for row in tests
                    if (row["model"], row["task"]) == (model, task)
                    for single in [[float(p) for p in row["mcnemar_p"].split()]]
                ),
                key=lambda pair: pair["verdict"] == "inconclusive",
            ),
        }
        for (model, task), _ in figures.panels(groups)
    ]


def _findings(
    tasks: Mapping[str, Task], groups: Sequence[Group], baselines: Sequence[Baseline]
) -> list[dict[str, Any]]:
    """Return one finding a task: its name and the sentences that say what was found."""
    several_models = _several_models(groups)
    findings = []
    for task in tasks.values():
        members = [group for group in groups if group.task == task.name]
        if members:
            scored = [baseline for baseline in baselines if baseline.task == task.name]
            findings.append({"task": task.name, "sentences": list(_sentences(task, members, scored, several_models))})
    return findings


def _sentences(
    task: Task, groups: Sequence[Group], baselines: Sequence[Baseline], several_models: bool
) -> Iterator[str]:
    metric = _metric_name(task.metric)
    ranked = sorted(
        ((float(np.mean(values)), group) for group in groups if (values := group.values(task.metric))),
        key=lambda item: -item[0],
    )
    if not ranked:
        yield "Every run diverged, so there is no model to compare."
        return

    def called(group: Group) -> str:
        return f"{group.optimizer} on {group.model}" if several_models else group.optimizer

    best, winner = ranked[0]
    ties = [group for mean, group in ranked if math.isclose(mean, best, abs_tol=5e-4)]
    amount = f"{_score(best)} ({_seeds_in_words(winner, task.metric)})"
    if len(groups) == 1:
        yield f"{called(winner)} reached a mean {metric} of {amount}."
    elif len(ranked) == 1:
        yield f"{called(winner)} alone has a result: a mean {metric} of {amount}."
    elif len(ties) > 1:
        yield f"{_listed(map(called, ties))} share the highest mean {metric} of {len(groups)} compared, {amount}."
    else:
        second, next_best = ranked[1]
        yield (
            f"{called(winner)} has the highest mean {metric} of {len(groups)} compared, {amount}; next is"
            f" {called(next_best)}, {_score(best - second)} lower at {_score(second)}"
            f" ({_seeds_in_words(next_best, task.metric)})."
        )
    controls = sorted((b for b in baselines if b.name != "bayes"), key=lambda b: b.metrics[task.metric])
    below = [b for b in controls if b.metrics[task.metric] < best]
    above = [b for b in controls if b.metrics[task.metric] >= best]
    verdicts = [
        f"{word} the baseline{'s' if len(part) > 1 else ''}"
        f" {_listed(f'{_baseline_name(b.name)} ({_score(b.metrics[task.metric])})' for b in part)}"
        for word, part in (("above", below), ("not above", above))
        if part
    ]
    if verdicts:
        yield f"{called(winner)} is {', but '.join(verdicts)}."
    ceiling = next((b.metrics[task.metric] for b in baselines if b.name == "bayes"), None)
    if ceiling is not None and ceiling > 0:
        yield (
            f"The Bayes optimum, the most that any classifier can reach on average on these simulated data,"
            f" is {_score(ceiling)} on this test split; {called(winner)} reached"
            f" {_percent(best / ceiling)} of it."
        )


def _seeds_in_words(group: Group, metric: str) -> str:
    values = group.values(metric)
    if len(group.runs) == 1:
        return "1 seed, so the spread is unknown"
    number = f"{len(values)} of {len(group.runs)}" if len(values) < len(group.runs) else f"{len(values)}"
    return f"{number} seeds" + (f", {_score(min(values))} to {_score(max(values))}" if len(values) > 1 else "")


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _several_models(groups: Sequence[Group]) -> bool:
    return len({group.model for group in groups}) > 1


def _cautions(groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in plain words what every flag and every divergence means."""
    several_models = _several_models(groups)

    def place(task: str, model: str) -> str:
        return f" on {task}, {model}" if several_models else f" on {task}"

    raised = [(row, flag) for row in rows for flag in (row["flags"] or "").split() if flag in _FLAGS]
    unequal = [
        f"Not on equal terms{'' if flag == 'mixed_code' else place(row['task'], row['model'])}: {_FLAGS[flag]}."
        for row, flag in raised
    ]
    lost = [group for group in groups if len(group.completed) < len(group.runs)]
    return [*dict.fromkeys(unequal), *(_divergence(group, place(group.task, group.model)) for group in lost)]


def _divergence(group: Group, place: str) -> str:
    diverged = [(run.seed, run.record["diverged"]) for run in group.runs if run.diverged]
    ends = "; ".join(
        f"seed {seed} at step {_count(end['step'])}, because {end['reason']} (loss"
        f" {_magnitude(end['loss'])}, gradient norm {_magnitude(end['gradient_norm'])})"
        for seed, end in diverged
    )
    count = f"{len(diverged)} of {_plural(len(group.runs), 'seed')}"
    return f"{group.optimizer} diverged{place} with {count}, which no mean counts: {ends}."


def _magnitude(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _metric_name(metric: str) -> str:
    return _METRICS.get(metric, metric)


def _baseline_name(name: str) -> str:
    return _BASELINES.get(name, name)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _rate(value: float | None) -> str:
    return "" if value is None else _count(round(value))


def _count(value: Any) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if isinstance(value, int) else str(value or "")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# Tables


def _leaderboard(task: Task, groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the rows of one task's table, highest mean first and those without any last."""

    def by_mean(entry: Mapping[str, Any]) -> float:
        return math.inf if entry["mean"] is None else -entry["mean"]

    runs = [
        {**row, "spread": _spread(group.values(task.metric)), "diverged": len(group.runs) - len(group.completed)}
        for group, row in zip(groups, rows, strict=False)
        if group.task == task.name
    ]
    controls = [
        {**row, "title": _baseline_name(row["optimizer"])} for row in rows[len(groups) :] if row["task"] == task.name
    ]
    return {
        "task": task.name,
        "metric": _metric_name(task.metric),
        "other": "f1_macro" if task.metric == "mcc" else "mcc",
        "other_name": _metric_name("f1_macro" if task.metric == "mcc" else "mcc"),
        "runs": sorted(runs, key=by_mean),
        "baselines": sorted(controls, key=by_mean),
    }


def _audit(
    task: Task, audit: Mapping[str, Any], groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the counts of one task's audit, and each optimizer's score with and without leaked test items."""
    pairs = [
        {
            "split": split,
            "other": other,
            **{kind: None if found is None else len(found) for kind, found in kinds.items()},
        }
        for split, others in audit["shared"].items()
        for other, kinds in others.items()
    ]
    scores = [row for _, row in zip(groups, rows, strict=False) if row["task"] == task.name]
    return {
        **audit,
        "task": task.name,
        "metric": _metric_name(task.metric),
        "pairs": pairs,
        "leaked_items": len(audit["leaked"]["test"]),
        "scores": [row for row in scores if row["mean"] is not None and row["mean_without_leaked"] is not None],
    }


def _spread(values: Sequence[float]) -> str:
    if len(values) > _MOST_SEEDS_SHOWN:
        return f"{_score(min(values))} to {_score(max(values))}"
    return "  ".join(map(_score, values))


def _run_score(run: FinishedRun, task: Task) -> str:
    return "" if run.diverged else f"{_metric_name(task.metric)} {_score(run.metrics[task.metric])}"


def _confusion(group: Group, task: Task) -> dict[str, Any]:
    """Return the rows of one confusion matrix; each cell with its share of the true class."""
    if not group.completed:
        return {"optimizer": group.optimizer, "rows": []}
    counts = confusion_of(group)
    unparsable = bool(counts[:, -1].any())
    shown = counts if unparsable else counts[:, :-1]
    shares = shown / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return {
        "optimizer": group.optimizer,
        "seeds": len(group.completed),
        "columns": [*task.labels, *(["no label"] if unparsable else [])],
        "rows": [
            (label, [(int(n), round(float(share), 3)) for n, share in zip(line, part, strict=True)])
            for label, line, part in zip(task.labels, shown, shares, strict=True)
        ],
    }


def _stages(groups: Sequence[Group]) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """Return {stage: rows of (setting, values)}; a value that not all runs share says which runs have it."""
    runs = [run for group in groups for run in group.runs]
    places = [{axis: f"seed {run.seed}" if axis == "seed" else getattr(run, axis) for axis in _AXES} for run in runs]
    facts = [dict(_facts(run)) for run in runs]
    stages: dict[str, list[tuple[str, list[tuple[str, str]]]]] = {
        "download": [],
        "prepare": [],
        "finetune": [],
        "evaluate": [],
        "software": [],
    }
    for stage, key in dict.fromkeys(itertools.chain.from_iterable(facts)):
        stages[stage].append((key, _who_has_what([fact.get((stage, key), "—") for fact in facts], places)))
    return stages


def _facts(run: FinishedRun) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((stage, setting), value) of one run."""
    record = run.record
    for key, value in record["inputs"].items():
        yield _INPUTS.get(key, ("prepare", f"digest of {key}")), str(value)
    for key, value in _flat(record["settings"]):
        if key in ("model", "seed", "task.name", "optimizer.name") or (key, value) == (
            "optimizer.method",
            run.optimizer,
        ):
            continue
        stage = "prepare" if key.startswith("task.") else "finetune"
        yield (stage, key.replace("optimizer.hyperparameters.", "optimizer.")), value
    trainable, total = record["trainable_parameters"], record["total_parameters"]
    share = f" ({100 * trainable / total:.3g} % of all)" if total else ""
    yield ("finetune", "trainable parameters"), f"{_count(trainable)}{share}"
    yield ("finetune", "parameters"), _count(total)
    for key in ("precision", "device", "ranks"):
        yield ("finetune", key), str(record[key])
    batch, micro, accumulation = (record[k] for k in ("global_batch_size", "micro_batch_size", "accumulation"))
    cut = f"{batch}: micro-batches of {micro}, {accumulation} accumulated on each of {record['ranks']} ranks"
    yield ("finetune", "batch as it was cut"), cut
    per_row = record["examples_per_row"]
    shared = "ordinary rows" if per_row is None else f"up to {per_row} examples behind one prefix"
    yield ("finetune", "rows"), shared
    yield ("finetune", "activations"), "recomputed" if record["gradient_checkpointing"] else "kept"
    if not run.diverged:
        yield ("evaluate", "test items"), _count(run.metrics["n"])
        modes = any(column.startswith("logp_") for column in run.predictions.columns)
        yield ("evaluate", "answers"), "most probable label" if modes else "decoded freely"
    for key, value in record["software"].items():
        yield ("software", key.replace("_", " ")), "not known" if value is None else str(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        elif isinstance(item, bool):
            yield f"{prefix}{key}", "yes" if item else "no"
        elif isinstance(item, list):
            yield f"{prefix}{key}", ", ".join(map(str, item)) or "none"
        else:
            yield f"{prefix}{key}", "none" if item is None or item == {} else str(item)


def _who_has_what(values: Sequence[str], places: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return [(value, whose)]; `whose` names the fewest axes of the grid that decide it, or is empty."""
    if len(set(values)) == 1:
        return [(values[0], "")]
    subsets = itertools.chain.from_iterable(itertools.combinations(_AXES, size) for size in range(1, len(_AXES) + 1))
    for axes in subsets:
        pairs = dict.fromkeys(
            (" ".join(place[axis] for axis in axes), v) for place, v in zip(places, values, strict=True)
        )
        if len({whose for whose, _ in pairs}) == len(pairs):
            break
    owners: dict[str, list[str]] = {}
    for whose, value in pairs:
        owners.setdefault(value, []).append(whose)
    return [(value, ", ".join(names)) for value, names in owners.items()]
