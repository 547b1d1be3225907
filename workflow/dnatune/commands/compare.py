"""Compare finished runs and baselines: tables, figures and one page.

By hand:  python -m dnatune compare --help; a rule's log begins with the command of a run of the workflow.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.errors import ConfigurationError
from dnatune.files import publish_file
from dnatune.settings import experiment

if TYPE_CHECKING:
    from dnatune.report.evidence import Evidence


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(
        prog="python -m dnatune compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        required=True,
        help="folders with metrics.json and predictions.tsv, one a run",
    )
    parser.add_argument("--records", type=Path, nargs="+", required=True, help="run.json files, in the order of --runs")
    parser.add_argument(
        "--logs", type=Path, nargs="+", required=True, help="training.jsonl files, in the order of --runs"
    )
    parser.add_argument(
        "--audits", type=Path, nargs="+", required=True, help="audit.json files, in the order of the settings' tasks"
    )
    parser.add_argument(
        "--test-records", type=Path, nargs="+", required=True, help="test.jsonl files, in the order of the tasks"
    )
    parser.add_argument(
        "--models", type=Path, nargs="+", required=True, help="folders of the base models, with manifest.json"
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="manifest.json of each task's data, in the order of the tasks",
    )
    parser.add_argument("--zero-shots", type=Path, nargs="*", default=[], help="folders …/zero-shot/<model>/<task>")
    parser.add_argument("--choices", type=Path, nargs="*", default=[], help="choice.json files, one an optimizer")
    parser.add_argument("--tuning", type=Path, help="tuning.tsv to write; goes with --choices")
    parser.add_argument("--baselines", type=Path, nargs="*", default=[], help="folders …/<task>/<baseline>")
    parser.add_argument("--comparison", type=Path, required=True, help="comparison.tsv to write")
    parser.add_argument("--tests", type=Path, required=True, help="tests.tsv to write")
    parser.add_argument("--segments", type=Path, required=True, help="segments.tsv to write")
    parser.add_argument("--configuration-file", type=Path, required=True, help="the configuration to write, YAML")
    parser.add_argument("--crate", type=Path, required=True, help="ro-crate-metadata.json to write, above all others")
    parser.add_argument("--figures", type=Path, required=True, help="folder to write the page's figures into, SVG")
    parser.add_argument("--report", type=Path, required=True, help="page to write, HTML")
    options = parser.parse_args()
    if options.choices and not options.tuning:
        parser.error("--choices needs --tuning")
    compare(options)


def compare(options: argparse.Namespace) -> None:
    """Read everything, make everything, then write: bad input leaves no output behind."""
    from dnatune.report import ro_crate

    evidence = evidence_of(options)
    texts = texts_of(options, evidence)
    data = [*options.audits, *options.test_records, *options.choices]
    texts[options.crate] = ro_crate.crate_text(options.crate.parent, evidence, texts, data)
    for path, text in texts.items():
        with publish_file(path) as scratch:
            scratch.write_text(text, "utf-8")


def evidence_of(options: argparse.Namespace) -> "Evidence":
    """Return all that the files named on the command line say.

    Raises:
        ConfigurationError: lists of unequal length, or a run whose base model is not named.
        DataError: a file is missing or breaks its contract.
    """
    from dnatune import provenance
    from dnatune.comparison import pairwise, references, results, segments, summary
    from dnatune.data import manifests
    from dnatune.evaluation import contamination
    from dnatune.report.evidence import Evidence
    from dnatune.settings import rate_choice

    settings = experiment.read(options.experiment).compare_settings()
    if not len(options.runs) == len(options.records) == len(options.logs):
        raise ConfigurationError(
            f"{len(options.runs)} runs, {len(options.records)} records and {len(options.logs)} logs",
            where="command line, --runs, --records and --logs",
            fix="name one of each for every run, in the same order",
        )
    tasks = results.tasks_by_name(settings)
    testing = pairwise.testing_of(settings)
    folders = zip(options.runs, options.records, options.logs, strict=True)
    groups = results.group_runs(results.read_run(*folder, tasks) for folder in folders)
    origins = manifests.read(options.models, options.data, list(tasks))
    if unknown := {group.model for group in groups} - origins.models.keys():
        raise ConfigurationError(
            f"no folder of base model {', '.join(sorted(unknown))}",
            where="command line, --models",
            fix="name the folder of every run's base model",
        )
    baselines = [results.read_baseline(folder, tasks) for folder in options.baselines]
    audits = results.read_audits(options.audits, tasks)
    zero_shots = [references.read_zero_shot(folder, tasks) for folder in options.zero_shots]
    contaminations = [contamination.Contamination.read(folder / "contamination.json") for folder in options.zero_shots]
    published = references.published_of(tasks, audits, settings["simulated"])
    seen = contamination.flagged(contaminations)
    return Evidence(
        settings=settings,
        tasks=tasks,
        groups=groups,
        baselines=baselines,
        rows=summary.comparison_rows(groups, baselines, tasks, audits, testing.level, seen)
        + references.control_rows(zero_shots, published, tasks),
        tests=pairwise.pair_rows(groups, tasks, testing),
        audits=audits,
        segments=segments.segment_rows(groups, tasks, segments.read_segments(options.test_records, tasks, audits)),
        packages=provenance.packages(),
        command=f"snakemake --cores all --configfile {options.configuration_file}",
        choices=[rate_choice.Choice.read(path) for path in options.choices],
        zero_shots=zero_shots,
        published=published,
        contaminations=contaminations,
        origins=origins,
    )


def texts_of(options: argparse.Namespace, evidence: "Evidence") -> dict[Path, str]:
    """Return the content of every file but the crate."""
    import yaml

    from dnatune.comparison import learning_rates, pairwise, segments, summary
    from dnatune.data import manifests
    from dnatune.report import page as report

    configuration = manifests.pinned(experiment.read(options.experiment).result_settings(), evidence.origins)
    page = report.page(evidence)
    return {
        options.comparison: summary.comparison_text(evidence.rows),
        options.tests: pairwise.tests_text(evidence.tests),
        options.segments: segments.segments_text(evidence.segments),
        options.configuration_file: yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
        options.report: page.html,
        **{options.figures / f"{name}.svg": figure for name, figure in page.figures.items()},
        **({options.tuning: learning_rates.tuning_text(evidence.choices)} if evidence.choices else {}),
    }
