"""Write down what will be tested, before any test score exists; a later change becomes a new version of the plan.

By hand:  python -m dnatune plan --experiment results/mine/experiment.json --results results/mine
"""

from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.comparison import plan
from dnatune.evaluation.metrics import Metrics
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line and plan."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<name>")
    parser.add_argument("--model", help="name of a base model; goes with --task")
    parser.add_argument("--task", help="name of a task; without both names, every plan that is there is revised")
    options = parser.parse_args()
    if (options.model is None) != (options.task is None):
        parser.error("--model and --task go together")
    configuration = experiment.read(options.experiment)
    if options.model is not None:
        revise(options.results, configuration, options.model, options.task)
        return
    for model in configuration.experiment.models:
        for task in configuration.tasks:
            # A control that has no dev score yet is scored first, and the plan is revised then.
            scored = all(path.exists() for path in dev_files(options.results, configuration, model, task).values())
            plan_file = place(options.results, model, task)
            if scored and (plan_file.exists() or plan_file.with_name("written").exists()):
                revise(options.results, configuration, model, task)


def place(results: Path, model: str, task: str) -> Path:
    """Return where the plan of a model and task is."""
    return results / "plan" / model / task / "plan.json"


def dev_files(results: Path, configuration: experiment.Configuration, model: str, task: str) -> dict[str, Path]:
    """Return dev.json of each control, by the control's name."""
    controls = configuration.controls(model, task)
    return {name: results / "evaluate" / folder / "dev.json" for name, folder in controls.items()}


def revise(results: Path, configuration: experiment.Configuration, model: str, task: str) -> None:
    """Write the plan of a model and task, unless it is what stands there already.

    Raises:
        DataError: dev.json of a control, or the plan, is damaged or missing.
    """
    settings, files = configuration.plan_settings(model, task), dev_files(results, configuration, model, task)
    scores = {name: Metrics.read(path).score(settings.metric) for name, path in files.items()}
    tested = [*(results / "evaluate" / model / task).glob("*/*/metrics.json")]
    tested += [path for dev in files.values() if (path := dev.with_name("metrics.json")).exists()]
    plan.revise(place(results, model, task), model, task, plan.content_of(settings, scores), len(tested))
