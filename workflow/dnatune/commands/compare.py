"""Compare finished runs and baselines: tables, figures and one page.

By hand:  python -m dnatune compare --experiment results/mine/experiment.json --results results/mine
          A file or list that is not named is where the workflow has it below --results (docs/contracts.md).
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.commands import stage_parser
from dnatune.errors import ConfigurationError
from dnatune.files import publish_file
from dnatune.settings import experiment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dnatune.comparison.plan import Plan
    from dnatune.comparison.results import Baseline, Group
    from dnatune.comparison.verdict_rows import VerdictRow
    from dnatune.data.leakage import Audit
    from dnatune.report.evidence import Evidence
    from dnatune.settings.scoring import CompareSettings
    from dnatune.settings.tasks import Task


#: Lists of files and folders that are read.
_INPUTS = {
    "runs": "folders with metrics.json and predictions.tsv, one a run",
    "records": "run.json files, in the order of --runs",
    "logs": "training.jsonl files, in the order of --runs",
    "audits": "audit.json files, in the order of the configuration's tasks",
    "test-records": "test.jsonl files, in the order of the tasks",
    "models": "folders of the base models, with manifest.json",
    "data": "manifest.json of each task's data, in the order of the tasks",
    "zero-shots": "folders …/zero-shot/<model>/<task>",
    "choices": "choice.json files of the learning-rate trials, one an optimizer",
    "plans": "plan.json files, one per base model and task",
    "baselines": "folders …/<task>/<baseline>",
    "frozen": "folders …/frozen/<model>/<task>",
}
#: Files that are written, with their place below the results.
_OUTPUTS = {
    "comparison": ("compare/comparison.tsv", "comparison.tsv"),
    "tests": ("compare/tests.tsv", "tests.tsv"),
    "segments": ("compare/segments.tsv", "segments.tsv"),
    "tuning": ("compare/tuning.tsv", "tuning.tsv"),
    "configuration-file": ("compare/configuration.yaml", "the configuration, YAML"),
    "figures": ("compare/figures", "folder of the page's figures, SVG,"),
    "crate": ("ro-crate-metadata.json", "ro-crate-metadata.json, above all others,"),
    "report": ("report.html", "page, HTML,"),
}


def main() -> None:
    """Parse the command line and compare."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<name>")
    for name, meaning in _INPUTS.items():
        parser.add_argument(f"--{name}", type=Path, nargs="*", help=meaning)
    for name, (_, meaning) in _OUTPUTS.items():
        parser.add_argument(f"--{name}", type=Path, help=f"{meaning} to write")
    options = parser.parse_args()
    for name, paths in by_contract(experiment.read(options.experiment), options.results).items():
        if getattr(options, name) is None:
            setattr(options, name, paths)
    compare(options)


def by_contract(configuration: experiment.Configuration, results: Path) -> dict[str, Path | list[Path]]:
    """Return every option's files and folders where the workflow has them.

    Args:
        configuration: the comparison.
        results: folder results/<name>.
    """
    grid, tasks, models = configuration.runs(), list(configuration.tasks), list(configuration.experiment.models)
    searches = dict.fromkeys((run.model, run.task, run.optimizer) for run in grid) if configuration.tuned else {}
    baselines = [(task, name) for task in tasks for name in configuration.baselines]
    return {
        "plans": [results / "plan" / model / task / "plan.json" for model in models for task in tasks],
        "runs": [results / "evaluate" / run.path for run in grid],
        "records": [results / "finetune" / run.path / "run.json" for run in grid],
        "logs": [results / "finetune" / run.path / "training.jsonl" for run in grid],
        "audits": [results / "prepare" / task / "audit.json" for task in tasks],
        "test_records": [results / "prepare" / task / "test.jsonl" for task in tasks],
        "models": [results / "download/models" / model for model in models],
        "data": [results / "download/data" / task / "manifest.json" for task in tasks],
        "zero_shots": [results / "evaluate/zero-shot" / model / task for model, task in configuration.asked],
        "choices": [results.joinpath("tuning", *search, "choice.json") for search in searches],
        "baselines": [results / "evaluate/baselines" / task / name for task, name in baselines],
        "frozen": [results / "evaluate/frozen" / model / task for model, task in configuration.frozen],
        **{name.replace("-", "_"): results / place for name, (place, _) in _OUTPUTS.items()},
    }


def compare(options: argparse.Namespace) -> None:
    """Read everything, make everything, then write: bad input leaves no output behind."""
    from dnatune.report import ro_crate

    evidence = evidence_of(options)
    texts = texts_of(options, evidence)
    data = [*options.plans, *options.audits, *options.test_records, *options.choices]
    texts[options.crate] = ro_crate.crate_text(options.crate.parent, evidence, texts, data)
    for path, text in texts.items():
        with publish_file(path) as scratch:
            scratch.write_text(text, "utf-8")


def evidence_of(options: argparse.Namespace) -> "Evidence":
    """Return all that the files named on the command line say.

    Raises:
        ConfigurationError: a run's base model is not named; see `read_groups`.
        DataError: a file is missing or breaks its contract.
    """
    from dnatune import provenance
    from dnatune.comparison import learning_rates, references, results, segments, summary
    from dnatune.comparison.plan import Plan
    from dnatune.data import manifests
    from dnatune.evaluation import contamination
    from dnatune.report.evidence import Evidence
    from dnatune.settings import rate_choice

    settings = experiment.read(options.experiment).compare_settings()
    tasks, testing = settings.tasks_by_name, settings.comparison
    groups = read_groups(options, tasks)
    origins = manifests.read(options.models, options.data, list(tasks))
    if unknown := {group.model for group in groups} - origins.models.keys():
        raise ConfigurationError(
            f"no folder of base model {', '.join(sorted(unknown))}",
            where="command line, --models",
            fix="name the folder of every run's base model",
        )
    baselines = [results.read_baseline(folder, tasks) for folder in options.baselines]
    baselines += [results.read_frozen(folder, tasks) for folder in options.frozen]
    audits = results.read_audits(options.audits, tasks)
    zero_shots = [references.read_zero_shot(folder, tasks) for folder in options.zero_shots]
    contaminations = [contamination.Contamination.read(folder / "contamination.json") for folder in options.zero_shots]
    published = references.published_of(tasks, audits, settings.simulated)
    seen = contamination.flagged(contaminations)
    plans = [Plan.read(path) for path in options.plans]
    choices = [rate_choice.Choice.read(path) for path in options.choices]
    return Evidence(
        settings=settings,
        tasks=tasks,
        groups=groups,
        baselines=baselines,
        rows=summary.comparison_rows(
            groups, baselines, tasks, audits, testing.level, seen, learning_rates.flags(choices)
        )
        + references.control_rows(zero_shots, published, tasks, contaminations),
        tests=verdicts(options, settings, groups, baselines, plans, audits),
        audits=audits,
        segments=segments.segment_rows(groups, tasks, segments.read_segments(options.test_records, tasks, audits)),
        packages=provenance.packages(),
        command=f"snakemake --cores all --configfile {options.configuration_file}",
        choices=choices,
        zero_shots=zero_shots,
        published=published,
        contaminations=contaminations,
        origins=origins,
        plans=plans,
    )


def verdicts(
    options: argparse.Namespace,
    settings: "CompareSettings",
    groups: "Sequence[Group]",
    baselines: "Sequence[Baseline]",
    plans: "Sequence[Plan]",
    audits: "Mapping[str, Audit]",
) -> "list[VerdictRow]":
    """Return the rows of tests.tsv; the control of each model and task is that of its plan."""
    from dnatune.comparison import controls, item_clusters, pairwise

    tasks = settings.tasks_by_name
    chosen = controls.chosen_controls({(plan.model, plan.task): plan.content.control for plan in plans}, baselines)
    clusters = item_clusters.read_clusters(options.test_records, tasks, audits)
    return pairwise.pair_rows(groups, tasks, settings.comparison, chosen, clusters)


def read_groups(options: argparse.Namespace, tasks: "Mapping[str, Task]") -> "list[Group]":
    """Return the runs, grouped by model, task and optimizer.

    Raises:
        ConfigurationError: lists of unequal length.
        DataError: a file is missing or breaks its contract.
    """
    from dnatune.comparison import results

    if not len(options.runs) == len(options.records) == len(options.logs):
        raise ConfigurationError(
            f"{len(options.runs)} runs, {len(options.records)} records and {len(options.logs)} logs",
            where="command line, --runs, --records and --logs",
            fix="name one of each for every run, in the same order",
        )
    folders = zip(options.runs, options.records, options.logs, strict=True)
    return results.group_runs(results.read_run(*folder, tasks) for folder in folders)


def texts_of(options: argparse.Namespace, evidence: "Evidence") -> dict[Path, str]:
    """Return the content of every file but the crate."""
    import yaml

    from dnatune.comparison import learning_rates, segments, summary, verdict_rows
    from dnatune.data import manifests
    from dnatune.report import page as report

    configuration = manifests.pinned(experiment.read(options.experiment).result_settings(), evidence.origins)
    page = report.page(evidence)
    return {
        options.comparison: summary.comparison_text(evidence.rows),
        options.tests: verdict_rows.tests_text(evidence.tests),
        options.segments: segments.segments_text(evidence.segments),
        options.configuration_file: yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
        options.report: page.html,
        **{options.figures / f"{name}.svg": figure for name, figure in page.figures.items()},
        **({options.tuning: learning_rates.tuning_text(evidence.choices)} if evidence.choices else {}),
    }
