"""Whether a user's files look like what the configuration says of them, and the lines that would fit if they do not.

Only the beginning of each file is read, because this is done before anything runs, in a dry run too.
"""

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnatune.data.fasta import read_fasta
from dnatune.errors import ConfigurationError, DataError, shown
from dnatune.settings.own_data import Examples, in_yaml
from dnatune.settings.sources import TaskEntry
from dnatune.settings.tasks import SPLITS
from dnatune.text_files import lines, table

#: Rows of a table that are looked at.
_ROWS = 50
_ENDS = {
    "fasta": re.compile(r"\.(fa|fasta|fna|fas)(\.gz|\.bgz)?$", re.IGNORECASE),
    "bed": re.compile(r"\.(bed|narrowPeak|broadPeak)(\.gz)?$", re.IGNORECASE),
    "table": re.compile(r"\.(csv|tsv|txt|tab)(\.gz)?$", re.IGNORECASE),
}
_DNA = re.compile("[ACGTUNacgtun]{8,}")
_LABELS = ("label", "labels", "class", "category", "target", "y", "type")


def check(config: Mapping[str, Any]) -> None:
    """Check the users' own files of a configuration, as far as a look at their beginnings tells.

    A folder that does not exist is left to the job that reads it: the configuration may be checked on another machine.

    Args:
        config: as Snakemake hands it over, before `experiment.resolve`, which reads classes from tables.

    Raises:
        ConfigurationError: an entry of a list of tasks is wrong, or files do not fit it; the message has lines that
            would.
    """
    for key, tasks in _lists_of_tasks(config):
        for number, given in enumerate(tasks if isinstance(tasks, list) else ()):
            if isinstance(given, Mapping):
                entry = TaskEntry.read(given, prefix=f"{key}.{number}")
                task = _Place(entry.name, key)
                if entry.path is not None:
                    _check_folder(task, entry.path, entry.labels or ())
                for split, part in entry.parts.items():
                    _check_part(task, split, part)


class _Place(NamedTuple):
    """Where a task is configured: its name, and the key of the list that it stands in."""

    name: str
    key: str

    def __str__(self) -> str:
        return f"config key '{self.key}', entry '{self.name}'"


def _lists_of_tasks(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield key and value of each list of tasks, of a configuration that is not checked yet."""
    yield "tasks", config.get("tasks")
    models = config.get("models")
    for name in models if isinstance(models, Mapping) else ():
        found, below = models, (name, "tiny", "pretrain", "tasks")
        for key in below:
            found = found.get(key) if isinstance(found, Mapping) else None
        yield f"models.{'.'.join(map(str, below))}", found


def _check_folder(task: _Place, path: str, labels: Sequence[str]) -> None:
    place = Path(path).expanduser()
    if place.is_file():
        raise _misfit(task, "'path' names a folder, and this is a file", path, [place])
    if not place.is_dir():
        return
    files = {split: place / f"{split}.csv" for split in SPLITS}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise _misfit(task, f"{', '.join(missing)} not found", path, sorted(place.iterdir()))
    for file in files.values():
        # What cannot be read as a table is named, with its line, by the job that prepares it.
        problem = _or_none(lambda file=file: _problem_of_csv(file, labels))
        if problem:
            raise _misfit(task, problem, str(Path(path, file.name)), list(files.values()))


def _problem_of_csv(file: Path, labels: Sequence[str]) -> str | None:
    """Return why a CSV file with a header is not in the layout of a task's folder, if it would fit as a table."""
    header, rows = table(file)
    if header != ["sequence", "label"] and len(header) > 1:
        return f"its columns are {', '.join(map(shown, header))}, and in a folder they must be sequence,label"
    values = [row[-1] for _, row in itertools.islice(rows, _ROWS)]
    words = [value for value in values if not value.isdecimal() and (value in labels or value.strip().isalpha())]
    return f"the label is the word {shown(words[0])}, and in a folder it must be a class index" if words else None


def _check_part(task: _Place, split: str, part: Examples) -> None:
    checks = {"fasta": _check_fasta, "bed": _check_bed, "table": _check_table}
    for path in part.paths:
        place, kind = Path(path).expanduser(), "fasta" if path == part.genome else part.kind
        where = f"{path}; {task}{'' if split == 'train' else f', {split}'}"
        if place.is_dir():
            raise _misfit(task, f"{path} is a folder, and a file is needed", path, sorted(place.iterdir()))
        try:
            if not place.is_file():
                raise DataError(
                    "file not found",
                    where=path,
                    fix=_near(place) + "check the path; a relative one counts from where snakemake starts",
                )
            checks[kind](place, part, task.name)
        except DataError as error:
            raise ConfigurationError(error.what, where=where, fix=error.fix) from None


def _check_fasta(file: Path, part: Examples, task: str) -> None:
    next(read_fasta(file))


def _check_bed(file: Path, part: Examples, task: str) -> None:
    next(lines(file), None)


def _check_table(file: Path, part: Examples, task: str) -> None:
    header, rows = table(file)
    missing = [name for name in part.table.columns if name not in header]
    if missing:
        guess = _columns(header, [row for _, row in itertools.islice(rows, _ROWS)])
        lines_that_fit = in_yaml([{"name": task, "table": {"path": part.table.path, **guess}}])
        raise DataError(
            f"no column is called {', '.join(map(shown, missing))}; there are {', '.join(map(shown, header))}",
            where=str(file),
            fix=f"name the columns of the sequence and of the class, as in\n{lines_that_fit}",
        )


def _misfit(task: _Place, what: str, where: str, files: Sequence[Path]) -> ConfigurationError:
    """Return the error that shows which entry of `tasks` would take the files that are there."""
    entry = suggestion(task.name, files, where)
    fix = "give train.csv, dev.csv and test.csv with the header sequence,label and class indices"
    if entry:
        fix = f"this takes the files as they are (docs/your-own-data.md):\n{in_yaml([entry])}"
    return ConfigurationError(what, where=f"{where}; {task}", fix=fix)


def suggestion(name: str, files: Sequence[Path], configured: str) -> Mapping[str, Any] | None:
    """Return an entry of `tasks` that would take some files; None if they are of no known kind.

    Args:
        name: of the task.
        files: what is there.
        configured: the path that the user gave: the folder of the files, or one of them.
    """
    folder = Path(configured) if Path(configured).expanduser().is_dir() else Path(configured).parent
    paths = {kind: [str(folder / file.name) for file in files if end.search(file.name)] for kind, end in _ENDS.items()}
    if len(paths["bed"]) > 1:
        genome = next(iter(paths["fasta"]), "genome.fa.gz")
        return {"name": name, "bed": {_stem(path): path for path in paths["bed"]}, "genome": genome}
    if len(paths["fasta"]) > 1:
        return {"name": name, "fasta": {_stem(path): path for path in paths["fasta"]}}
    tables = {_stem(path): path for path in paths["table"]}
    parts = {split: _table_of(tables[word]) for split, words in _NAMES.items() for word in words if word in tables}
    if "train" in parts:
        rest = {split: {"table": part} for split, part in parts.items() if split != "train"}
        return {"name": name, "table": parts["train"], **rest}
    return {"name": name, "table": _table_of(next(iter(tables.values())))} if tables else None


_NAMES = {"train": ("train", "training"), "dev": ("dev", "val", "valid", "validation"), "test": ("test", "testing")}


def _table_of(path: str) -> dict[str, str]:
    """Return the settings of a table, its columns guessed."""

    def columns() -> dict[str, str]:
        header, rows = table(Path(path).expanduser())
        return _columns(header, [row for _, row in itertools.islice(rows, _ROWS)])

    return {"path": path, **(_or_none(columns) or {})}


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return which columns look like the sequence and the class; a class repeats, a sequence is DNA."""
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
    dna = [name for name, values in columns.items() if all(_DNA.fullmatch(value.strip()) for value in values)]
    others = [name for name in columns if name not in dna]
    few = sorted(others, key=lambda name: (name.lower() not in _LABELS, len(set(columns[name]))))
    several = [name for name in few if len(set(columns[name])) > 1] or few
    return {"sequence": (dna or ["COLUMN"])[0], "label": (several or ["COLUMN"])[0]}


def _stem(path: str) -> str:
    name = Path(path).name
    return next((found for end in _ENDS.values() if (found := end.sub("", name)) != name), name)


def _near(file: Path) -> str:
    """Return the names of files beside one that does not exist, as a hint."""
    if not file.parent.is_dir():
        return ""
    near = difflib.get_close_matches(file.name, [other.name for other in file.parent.iterdir()], n=1)
    return f"did you mean {file.with_name(near[0])}? " if near else ""


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except DataError:
        return None
