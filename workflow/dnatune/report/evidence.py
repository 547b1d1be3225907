"""All that the page is made from."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dnatune.comparison.plan import Plan
from dnatune.comparison.references import Published, ZeroShot
from dnatune.comparison.results import Baseline, Group
from dnatune.comparison.verdict_rows import VerdictRow
from dnatune.data.leakage import Audit
from dnatune.data.manifests import Origins
from dnatune.evaluation.contamination import Contamination
from dnatune.report.figures import base
from dnatune.settings.rate_choice import Choice
from dnatune.settings.scoring import CompareSettings
from dnatune.settings.tasks import Task


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the stages before left, read and checked.

    Attributes:
        settings: what `Configuration.compare_settings` returns.
        tasks: the tasks by name.
        groups: the runs, one group an optimizer of a model and task.
        baselines: the baselines of all tasks.
        rows: `comparison_rows` of the same groups and baselines.
        tests: `pair_rows` of the same groups.
        audits: audit.json by task.
        segments: `segment_rows` of the same groups.
        packages: version of each package of the environment that made the page.
        command: what makes these results again.
        choices: choice.json of every model, task and optimizer; none where learning rates were given.
        zero_shots: the base models as they came, on every task.
        published: figures of others for the tasks.
        contaminations: contamination.json of every base model and task.
        origins: where the base models and the tasks' data came from.
        plans: plan.json of every base model and task.
    """

    settings: CompareSettings
    tasks: Mapping[str, Task]
    groups: Sequence[Group]
    baselines: Sequence[Baseline]
    rows: Sequence[Mapping[str, Any]]
    tests: Sequence[VerdictRow]
    audits: Mapping[str, Audit]
    segments: Sequence[Mapping[str, Any]]
    packages: Mapping[str, str]
    command: str
    choices: Sequence[Choice] = ()
    zero_shots: Sequence[ZeroShot] = ()
    published: Sequence[Published] = ()
    contaminations: Sequence[Contamination] = ()
    origins: Origins = dataclasses.field(default_factory=Origins)
    plans: Sequence[Plan] = ()

    @property
    def several_models(self) -> bool:
        """Return whether a model must be named wherever an optimizer is."""
        return len({group.model for group in self.groups}) > 1

    @property
    def classifiers(self) -> list[str]:
        """Return the names of the models with a classification head."""
        return list(dict.fromkeys(group.model for group in self.groups if group.head == "classification"))

    @property
    def looks(self) -> base.Palette:
        """Return colour, shape and dash of each optimizer."""
        return base.palette(self.groups)

    def called(self, model: str, optimizer: str) -> str:
        """Return the name of an optimizer, with its model where there are several."""
        return f"{optimizer} on {model}" if self.several_models else optimizer

    def title(self, model: str, task: str) -> str:
        """Return the name of a task, with the model where there are several."""
        return f"{task}, {model}" if self.several_models else task

    def panels(self) -> Iterator[tuple[str, Task, list[Group]]]:
        """Yield (title, task, groups) of every model and task, in the order in which each first appears."""
        for (model, task), members in base.panels(self.groups, base.place_of).items():
            yield self.title(model, task), self.tasks[task], members

    @staticmethod
    def of_panel(rows: Sequence[Mapping[str, Any]], members: Sequence[Group]) -> list[Mapping[str, Any]]:
        """Return the rows of a table that are of the model and task of a panel's groups."""
        return [row for row in rows if (row["model"], row["task"]) == base.place_of(members[0])]

    def pairs(self, members: Sequence[Group], metric: str, comparison: str = "optimizers") -> list[VerdictRow]:
        """Return the rows of tests.tsv of a panel's groups by one metric: of pairs of optimizers, or against controls.

        Args:
            members: groups of one model and task.
            metric: of the rows.
            comparison: `optimizers` or `control`.
        """
        model, task = base.place_of(members[0])
        wanted = (model, (task,), metric, comparison)
        return [row for row in self.tests if (row.model, row.tasks, row.metric, row.comparison) == wanted]

    def only_class(self, task: Task, split: str) -> str | None:
        """Return the class that all items of a split are of; None where there are several."""
        there = [label for label, rows in self.audits[task.name].classes[split].items() if rows]
        return there[0] if len(there) == 1 else None

    def baselines_of(self, task: Task) -> list[Baseline]:
        """Return the baselines that apply to one task."""
        return [baseline for baseline in self.baselines if baseline.task == task.name and baseline.applies]
