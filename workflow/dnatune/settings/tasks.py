"""The tasks of GUE: class labels, instruction text, metric and published sizes.

Sizes, lengths and class counts: Zhou et al. 2023, arXiv 2306.15006, table 1 and the data released with it.
Instruction texts of the promoter, transcription-factor and splice tasks are those of the instruction corpus that
DNA-LLaMA3 was made with, double space included; those of the yeast and virus tasks are written in the same form.
"""

import dataclasses
import difflib
from pathlib import Path

from dnatune import text_files
from dnatune.errors import ConfigurationError, DataError
from dnatune.settings.own_data import OwnData, Table
from dnatune.settings.sources import TaskEntry

#: The three splits, in the order in which they are made.
SPLITS = ("train", "dev", "test")
#: What an entry of `tasks` may give of a task itself.
_GIVEN = ("name", "path", "labels", "instruction", "metric")
#: A column with more different words than this holds no classes.
_MOST_CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes:
        name: name in the configuration and in all paths.
        labels: the answer's words; the position is the class index in the CSV.
        instruction: the question put to the model.
        metric: `mcc` or `f1_macro`, the one that GUE reports.
        length: length of the sequences, bp; None where unknown.
        sizes: rows of train, dev and test; None where unknown.
        path: a folder of the user's with the three CSV files, instead of the configured source.
        files: other files of the user's, instead of the configured source.
    """

    name: str
    labels: tuple[str, ...]
    instruction: str
    metric: str = "mcc"
    length: int | None = None
    sizes: tuple[int, int, int] | None = None
    path: str | None = None
    files: OwnData | None = None

    @property
    def own(self) -> bool:
        """Return whether the task has data of its own, whatever the configured source."""
        return self.path is not None or self.files is not None


def _instruction(subject: str, labels: tuple[str, ...]) -> str:
    return (
        f"Determine {subject} of following dna sequence, The result will be one of the following: {', '.join(labels)}."
    )


_PROMOTER = ("Non-promoter", "promoter")
_FACTOR = ("Background Sequences", "Binding Sites")
_SPLICE = ("Non-Splice Sites", "Acceptor Sites", "Donor Sites")
_MARK = ("Non-epigenetic mark", "epigenetic mark")
_VARIANTS = ("Alpha", "Beta", "Delta", "Eta", "Gamma", "Iota", "Kappa", "Lambda", "Zeta")

_PROMOTER_SIZES = {"all": (47356, 5920, 5920), "notata": (42452, 5307, 5307), "tata": (4904, 613, 613)}
_HUMAN_FACTOR_TRAIN = (32378, 30672, 19000, 27294, 19000)
_MOUSE_FACTOR = ((6478, 810), (53952, 6745), (2620, 328), (1904, 239), (15064, 1883))
_YEAST_MARKS = ["H3", "H3K14ac", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K79me3", "H3K9ac", "H4", "H4ac"]


def _gue() -> dict[str, Task]:
    tasks = []
    for part, sizes in _PROMOTER_SIZES.items():
        core = _instruction("core promoter detection", _PROMOTER)
        tasks.append(Task(f"prom_core_{part}", _PROMOTER, core, length=70, sizes=sizes))
        whole = _instruction("promoter  detection", _PROMOTER)
        tasks.append(Task(f"prom_300_{part}", _PROMOTER, whole, length=300, sizes=sizes))
    factor = _instruction("the Transcription Factor Prediction", _FACTOR)
    for k, train in enumerate(_HUMAN_FACTOR_TRAIN):
        tasks.append(Task(f"human_tf_{k}", _FACTOR, factor, length=101, sizes=(train, 1000, 1000)))
    for k, (train, held_out) in enumerate(_MOUSE_FACTOR):
        tasks.append(Task(f"mouse_{k}", _FACTOR, factor, length=101, sizes=(train, held_out, held_out)))
    splice = _instruction("the Splice Site Prediction", _SPLICE)
    tasks.append(Task("splice_reconstructed", _SPLICE, splice, length=400, sizes=(36496, 4562, 4562)))
    mark = _instruction("the Epigenetic Marks Prediction", _MARK)
    tasks.extend(Task(f"emp_{name}", _MARK, mark, length=500) for name in _YEAST_MARKS)
    variant = _instruction("the Covid Variant Classification", _VARIANTS)
    tasks.append(Task("virus_covid", _VARIANTS, variant, "f1_macro", 1000, (77669, 7000, 7000)))
    return {task.name: task for task in tasks}


#: All 28 tasks of GUE by name.
GUE: dict[str, Task] = _gue()
#: Beginnings of the tasks' names, and what stands in their place in the archive that GUE's authors released.
_RELEASED = {
    "prom_": "prom/prom_",
    "emp_": "EMP/",
    "human_tf_": "tf/",
    "mouse_": "mouse/",
    "splice_": "splice/",
    "virus_": "virus/",
}


def folder_names(task: str) -> list[str]:
    """Return the folders that a task may have: its own name, as on the hub, then that of GUE as it was released."""
    released = [new + task.removeprefix(old) for old, new in _RELEASED.items() if task in GUE and task.startswith(old)]
    return [task, *released]


def resolve_task(entry: TaskEntry, key: str = "tasks") -> Task:
    """Return the task that one entry of `key` names. An entry with a name of GUE's overrides only what it gives.

    Raises:
        ConfigurationError: the name is not GUE's and labels or instruction are missing; labels repeat; or they are to
            be read from a table, which cannot be read.
    """
    where = f"config key '{key}', entry '{entry.name}'"
    files = OwnData.of(entry)
    given = {name: value for name in _GIVEN if (value := getattr(entry, name)) is not None}
    if files is not None:
        given |= {"labels": entry.labels or files.classes or _words_of(files.table, where), "files": files}
    if "labels" in given and (entry.path or files):
        subject = entry.name.replace("_", " ")
        given.setdefault("instruction", _instruction(f"the {subject} class", given["labels"]))
    missing = [name for name in ("labels", "instruction") if name not in given]
    if entry.name in GUE:
        task = dataclasses.replace(GUE[entry.name], **given)
    elif entry.path is not None and missing:
        raise ConfigurationError(
            f"the task '{entry.name}' has a folder of its own and no labels",
            where=where,
            fix="name the answer of each class index, as in labels: [background, enhancer]; files with words need no"
            " labels (docs/your-own-data.md)",
        )
    elif missing:
        near = difflib.get_close_matches(entry.name, GUE, n=1)
        raise ConfigurationError(
            f"'{entry.name}' is not a task of GUE",
            where=where,
            fix=(f"did you mean '{near[0]}'? " if near else "")
            + f"A task of your own needs: {', '.join(missing)} (docs/your-own-data.md); GUE's are: {', '.join(GUE)}",
        )
    else:
        task = Task(**given)
    if len(set(task.labels)) != len(task.labels):
        raise ConfigurationError(
            f"labels repeat: {', '.join(task.labels)}", where=where, fix="give each class a word of its own"
        )
    return task


def _words_of(table: Table, where: str) -> tuple[str, ...]:
    """Return the words in a table's column of labels: in alphabetical order, class indices in that of the numbers.

    Raises:
        ConfigurationError: the table cannot be read, or has one class or far too many.
    """
    try:
        header, rows = text_files.table(Path(table.path).expanduser(), [table.label])
        column = header.index(table.label)
        words: set[str] = set()
        for _, row in rows:
            words.add(row[column].strip())
            if len(words) > _MOST_CLASSES:
                break
    except DataError as error:
        raise ConfigurationError(error.what, where=f"{error.where}; {where}", fix=error.fix) from None
    words.discard("")
    if not 2 <= len(words) <= _MOST_CLASSES:
        count = f"more than {_MOST_CLASSES}" if len(words) > 1 else str(len(words))
        raise ConfigurationError(
            f"the column '{table.label}' has {count} different values, so it does not hold classes",
            where=f"{table.path}; {where}",
            fix=f"name the column of the classes: table: {{path: {table.path}, label: COLUMN}}",
        )
    return tuple(sorted(words, key=lambda word: (not word.isdecimal(), int(word) if word.isdecimal() else 0, word)))
