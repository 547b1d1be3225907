"""Compare finished runs and baselines: three tables, one figure and one page.

By hand:  python -m dnatune compare --help; a rule's log begins with the command of a run of the workflow.
"""

import argparse
from pathlib import Path

from dnatune.errors import ConfigurationError
from dnatune.files import publish_file
from dnatune.settings import experiment

WORKFLOW = Path(__file__).resolve().parents[2] / "Snakefile"


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
    parser.add_argument(
        "--adapters",
        type=Path,
        nargs="+",
        required=True,
        help="folders with run.json, in the order of --runs",
    )
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
    parser.add_argument("--tuning-figure", type=Path, help="figure of the trials to write, SVG; goes with --choices")
    parser.add_argument("--baselines", type=Path, nargs="*", default=[], help="folders …/<task>/<baseline>")
    parser.add_argument("--comparison", type=Path, required=True, help="comparison.tsv to write")
    parser.add_argument("--tests", type=Path, required=True, help="tests.tsv to write")
    parser.add_argument("--segments", type=Path, required=True, help="segments.tsv to write")
    parser.add_argument("--configuration-file", type=Path, required=True, help="the configuration to write, YAML")
    parser.add_argument("--workflow-file", type=Path, required=True, help="copy of the workflow's file to write")
    parser.add_argument("--crate", type=Path, required=True, help="ro-crate-metadata.json to write, above all others")
    parser.add_argument("--figures", type=Path, required=True, help="folder to write the page's figures into, SVG")
    parser.add_argument("--loss-figure", type=Path, required=True, help="figure of the training loss to write, SVG")
    parser.add_argument("--report", type=Path, required=True, help="page to write, HTML")
    options = parser.parse_args()
    if options.choices and not (options.tuning and options.tuning_figure):
        parser.error("--choices needs --tuning and --tuning-figure")
    compare(options)


def compare(options: argparse.Namespace) -> None:
    """Read everything, make everything, then write: bad input leaves no output behind."""
    configured = experiment.read(options.experiment)
    settings = configured.compare_settings()
    if not len(options.runs) == len(options.adapters) == len(options.logs):
        raise ConfigurationError(
            f"{len(options.runs)} runs, {len(options.adapters)} adapters and {len(options.logs)} logs",
            where="command line, --runs, --adapters and --logs",
            fix="name one of each for every run, in the same order",
        )

    import yaml

    from dnatune import provenance
    from dnatune.comparison import learning_rates, pairwise, references, results, segments, summary
    from dnatune.data import manifests
    from dnatune.evaluation import contamination
    from dnatune.report import page as report
    from dnatune.report import ro_crate
    from dnatune.report.figures import base
    from dnatune.report.figures import learning_rates as tuning_figures
    from dnatune.report.figures import training as curves

    tasks = results.tasks_by_name(settings)
    testing = pairwise.testing_of(settings)
    folders = zip(options.runs, options.adapters, options.logs, strict=True)
    runs = [results.read_run(*folder, tasks) for folder in folders]
    groups = results.group_runs(runs)
    places = manifests.read(options.models, options.data, list(tasks))
    unknown = {run.model for run in runs} - places.models.keys()
    if unknown:
        raise ConfigurationError(
            f"no folder of base model {', '.join(sorted(unknown))}",
            where="command line, --models",
            fix="name the folder of every run's base model",
        )
    baselines = [results.read_baseline(folder, tasks) for folder in options.baselines]
    audits = results.read_audits(options.audits, tasks)
    choices = [learning_rates.read_choice(path) for path in options.choices]
    zero_shots = [references.read_zero_shot(folder, tasks) for folder in options.zero_shots]
    contaminations = [contamination.read(folder / "contamination.json") for folder in options.zero_shots]
    published = references.published_of(tasks, audits, settings["simulated"])
    rows = summary.comparison_rows(
        groups, baselines, tasks, audits, testing.level, contamination.flagged(contaminations)
    )
    rows += references.control_rows(zero_shots, published, tasks)
    tests = pairwise.pair_rows(groups, tasks, testing)
    parts = segments.read_segments(options.test_records, tasks, audits)
    scored = segments.segment_rows(groups, tasks, parts)
    command = f"snakemake --cores all --configfile {options.configuration_file}"
    configuration = manifests.pinned(configured.result_settings(), places)
    packages = provenance.packages()
    evidence = report.Evidence(
        settings,
        tasks,
        groups,
        baselines,
        rows,
        tests,
        audits,
        scored,
        packages,
        command,
        choices,
        zero_shots,
        published,
        contaminations,
        places,
    )
    made = report.page(evidence)
    texts = {
        options.comparison: summary.comparison_text(rows),
        options.tests: pairwise.tests_text(tests),
        options.segments: segments.segments_text(scored),
        options.configuration_file: yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
        options.loss_figure: curves.loss_figure(groups),
        options.report: made.html,
        **{options.figures / f"{name}.svg": figure for name, figure in made.figures.items()},
    }
    if choices:
        texts[options.tuning] = learning_rates.tuning_text(choices)
        texts[options.tuning_figure] = tuning_figures.figure(choices, base.palette(groups))
    texts[options.workflow_file] = WORKFLOW.read_text("utf-8")
    results = [
        ro_crate.Finished(run, (adapter / "run.json", log, folder / "metrics.json", folder / "predictions.tsv"))
        for run, folder, adapter, log in zip(runs, options.runs, options.adapters, options.logs, strict=True)
    ]
    data = [*options.audits, *options.test_records, *options.choices]
    root, name = options.crate.parent, settings["name"]
    texts[options.crate] = ro_crate.crate_text(
        root, name, options.workflow_file, texts, data, results, packages, places
    )
    for path, text in texts.items():
        with publish_file(path) as scratch:
            scratch.write_text(text, "utf-8")
