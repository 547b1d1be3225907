"""Configurations and CSV files that somebody or something has spoilt: every one follows from its number."""

import copy
import datetime
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from configurations import DEMO
from workflow_runs import small

Config = dict[Any, Any]

#: What stands where something else is due. Each call makes its own, because maps and lists are changed later.
_VALUES: dict[str, Callable[[], Any]] = {
    "NaN": lambda: math.nan,
    "infinity": lambda: math.inf,
    "minus infinity": lambda: -math.inf,
    "whole float": lambda: 3.0,
    "1e2": lambda: "1e2",
    "100.0": lambda: 1e2,
    "zero": lambda: 0,
    "minus one": lambda: -1,
    "a million million": lambda: 10**12,
    "thirty digits": lambda: 10**30,
    "four hundred digits": lambda: 10**400,
    "5,000 digits": lambda: 10**5000,
    "5,000 digits as text": lambda: "9" * 5000,
    "no day of a month": lambda: "2024-13-45",
    "brackets": lambda: "[" * 5000,
    "smallest float": lambda: 5e-324,
    "largest float": lambda: 1.7e308,
    "empty text": lambda: "",
    "blank": lambda: " ",
    "line break": lambda: "a\nb",
    "tab": lambda: "a\tb",
    "NUL": lambda: "a\x00b",
    "escape": lambda: "a\x1b[31mb",
    "surrogate": lambda: "a\ud800b",
    "next line": lambda: "a\x85b\u2028c",
    "5,000 letters": lambda: "x" * 5000,
    "braces": lambda: "{x}",
    "angles": lambda: "<x>",
    "shell": lambda: "$(touch pwned)`touch pwned`",
    "quotes": lambda: "'\"'",
    "upwards": lambda: "../../up",
    "dot": lambda: ".",
    "slash": lambda: "a/b",
    "option": lambda: "--help",
    "true": lambda: True,
    "null": lambda: None,
    "empty list": list,
    "empty map": dict,
    "list of lists": lambda: [[1]],
    "map": lambda: {"a": 1},
    "map with other keys": lambda: {True: 1, 2: 2, None: 3},
    "date": lambda: datetime.date(2024, 1, 1),
    "bytes": lambda: b"abc",
    "set": lambda: {1, 2},
    "deep list": lambda: _nested(list_of=True),
    "deep map": lambda: _nested(list_of=False),
    "list of itself": lambda: _recursive(),
    "a thousand million aliases": lambda: _aliases(),
    "many": lambda: list(range(20_000)),
}
_KEYS: dict[str, Any] = {
    "on:": True,
    "1:": 1,
    "1.5:": 1.5,
    "null:": None,
    "empty": "",
    "blank": " ",
    "5,000 letters": "x" * 5000,
    "250 letters": "x" * 250,
    "NUL": "a\x00b",
    "braces": "{x}",
    "angles": "<x>",
    "slash": "a/b",
    "upwards": "..",
    "line break": "adamw\n",
    "surrogate": "\ud800",
    "unknown": "colour",
}


def _nested(list_of: bool) -> Any:
    value: Any = 1
    for _ in range(5000):
        value = [value] if list_of else {"a": value}
    return value


def _recursive() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _aliases() -> list[Any]:
    value: Any = [1] * 10
    for _ in range(8):
        value = [value] * 10
    return value


def bases() -> list[Config]:
    """Return the configurations that are spoilt; every key of the configuration stands in one of them."""
    from dnatune.settings import experiment

    own = {"name": "mine", "path": "data", "labels": ["no", "yes"], "instruction": "Is it one?", "metric": "mcc"}
    rich = small(
        models={
            "hub": {"source": "hub", "hub": {"repo": "owner/name", "revision": "main"}},
            "folder": {"source": "directory", "directory": {"path": "models/base"}},
        },
        data={"directory": {"path": "GUE"}},
        tasks=[own, "prom_core_all"],
        optimizers={
            "adamw": {"learning_rate": None, "warmup_ratio": 0.1, "budget": {"steps": 50}},
            "wild": {"learning_rate": None, "momentum": 0.9},
            "outside": {"method": "torch.optim.RMSprop", "alpha": 0.9},
            "mine": {"method": "package.module:Class", "anything": [0.1, 0.2]},
        },
        training={"deepspeed": {"comms_logger": {"enabled": True}}},
        tuning={
            "trials": 3,
            "fine": 3,
            "rates": {
                "adamw": [0.1, 0.2, 0.3],
                "wild": {"from": 1.0e-4, "to": 1.0},
                "outside": [0.1, 0.2, 0.3],
                "mine": [0.1, 0.2, 0.3],
            },
            "budget": {"gradient_evaluations": 30},
        },
        comparison={"reference": "adamw"},
        contamination={"manifest": "seen.txt"},
        benchmark={"tokenizer": "tokenizer"},
        merge={"dtype": "bf16"},
        predict={
            "input": "regions.bed",
            "genome": "genome.fa",
            "column": "sequence",
            "width": 100,
            "class": "yes",
            "outputs": ["all.tsv", "yes.bedgraph"],
            "model": "hub",
            "task": "mine",
            "optimizer": "adamw",
            "seed": 3,
        },
    )
    return [DEMO, small(), rich, experiment.resolve(rich).settings]


def configurations(seed: int, count: int) -> Iterator[tuple[str, Config]]:
    """Yield (what was done, configuration)."""
    origins = bases()
    for number in range(count):
        dice = random.Random(f"{seed}/{number}")
        config = copy.deepcopy(dice.choice(origins))
        said = [_spoil(config, dice) for _ in range(dice.choice([1, 1, 1, 2, 3]))]
        yield "; ".join(said), config


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of everything in a configuration that was not spoilt yet."""
    if len(path) > 8:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:2]):
            yield (*path, index)
            yield from _places(item, (*path, index))


def _spoil(config: Config, dice: random.Random) -> str:
    *above, last = path = dice.choice(list(_places(config)))
    part: Any = config
    for key in above:
        part = part[key]
    where = ".".join(str(key)[:20] for key in path)
    match dice.choice(["value"] * 6 + ["key", "key", "added", "removed", "moved", "text"]):
        case "value":
            name = dice.choice(list(_VALUES))
            part[last] = _VALUES[name]()
            return f"{name} at {where}"
        case "key" if isinstance(part, dict):
            name = dice.choice(list(_KEYS))
            items = [(_KEYS[name] if key == last else key, value) for key, value in part.items()]
            part.clear()
            part.update(items)
            return f"key {name} for {where}"
        case "added" if isinstance(part, dict):
            name = dice.choice(list(_KEYS))
            part[_KEYS[name]] = part[last]
            return f"key {name} beside {where}"
        case "removed":
            del part[last]
            return f"without {where}"
        case "text" if isinstance(part[last], bool | float):
            part[last] = str(part[last])
            return f"text at {where}"
    *others, other = dice.choice(list(_places(config)))
    target: Any = config
    for key in others:
        target = target[key]
    part[last] = target[other]  # as an alias of YAML does
    return f"{'.'.join(map(str, (*others, other)))[:60]} at {where}"


_SPLITS = ("train", "dev", "test")
_LABELS = ["01", "9" * 5000, " 0", "0 ", "0.0", "+0", "-0", "²", "", "1e0", "True", "null", "2", "\u0661", "'0'", '"0"']
_LABELS += ['"0', "0\t", "０"]
_SEQUENCES = ["", " ", "N", "n" * 40, "ACGU", "AC GT", "AC-GT", "acgtn", "ACGT\x00", "=ACGT", "A" * 131_072, "ТACG"]
_SEQUENCES += ["ACGT\ufeff", '"ACGT"', '"AC""GT"', "ACGT" * 40_000]
_HEADERS = ["sequence", "label,sequence", "Sequence,Label", "sequence, label", "sequence;label", "", "label", ","]
_HEADERS += ["sequence,label,", "sequence,label\nsequence,label", "a" * 5000, "sequence,sequence"]
_HEADERS += ['"sequence","label"', "," * 5000]
_ENDS = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\n\n", "\n\r"]


def csv_files(seed: int, count: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (what was done, the content of train, dev and test)."""
    for number in range(count):
        dice = random.Random(f"{seed}/{number}")
        files, said = {split: _csv_rows(dice) for split in _SPLITS}, []
        content = {split: _as_bytes(rows) for split, rows in files.items()}
        for _ in range(dice.choice([1, 1, 2])):
            split = dice.choice(_SPLITS)
            name, content[split] = _spoilt_csv(dict(enumerate(files[split])), dice)
            said.append(f"{name} in {split}")
        yield "; ".join(said), content


def _csv_rows(dice: random.Random) -> list[str]:
    return [f"{''.join(dice.choices('ACGTNacgt', k=dice.randint(1, 50)))},{row % 2}" for row in range(8)]


def _as_bytes(rows: list[str], header: str = "sequence,label", end: str = "\n") -> bytes:
    return end.join([header, *rows, ""]).encode()


def _spoilt_csv(rows: dict[int, str], dice: random.Random) -> tuple[str, bytes]:
    row, column = dice.choice(list(rows)), dice.randrange(2)
    fields = rows[row].split(",")
    match dice.randrange(12):
        case 0:
            label = dice.choice(_LABELS)
            return f"label {label[:9]!r}", _as_bytes([*rows.values(), f"ACGT,{label}"])
        case 1:
            sequence = dice.choice(_SEQUENCES)
            return f"sequence {sequence[:9]!r}", _as_bytes([*rows.values(), f"{sequence},1"])
        case 2:
            header = dice.choice(_HEADERS)
            return f"header {header[:20]!r}", _as_bytes(list(rows.values()), header)
        case 3:
            ends = [dice.choice(_ENDS) for _ in range(dice.randint(1, 3))]
            text = "sequence,label\n" + "".join(one + dice.choice(ends) for one in rows.values())
            return f"rows end in {ends}", text.encode()
        case 4:
            fields[column] = f'"{fields[column]}\n{dice.choice(["", "ACGT"])}"'
            return "a quoted line break", _as_bytes([*rows.values(), ",".join(fields)])
        case 5:
            letter = dice.choice("\x0b\x0c\x1c\x85\u2028\x00\t\ufeff\"',;")
            fields[column] = fields[column][:3] + letter + fields[column][3:]
            return f"{letter!r} in a field", _as_bytes([*rows.values(), ",".join(fields)])
        case 6:
            return "one class", _as_bytes([f"{one[:-1]}1" for one in rows.values()])
        case 7:
            return "all N", _as_bytes([f"{'N' * dice.randint(1, 9)},{each % 2}" for each in rows])
        case 8:
            content = bytearray(_as_bytes(list(rows.values())))
            for _ in range(dice.randint(1, 4)):
                content[dice.randrange(len(content))] = dice.randrange(256)
            return "other bytes", bytes(content)
        case 9:
            content = _as_bytes(list(rows.values()))
            return "cut", content[: dice.randrange(len(content))]
        case 10:
            text = _as_bytes(list(rows.values())).decode()
            code = dice.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"])
            return code, text.encode(code)
    text = _as_bytes(list(rows.values()), end=dice.choice(["\r\n", "\r", "\n"])).decode()
    before, after = (
        dice.choice(["", "\n", "\ufeff", "# made by hand\n"]),
        dice.choice(["", "\n\n", " ", "\r\n \n", ","]),
    )
    return f"{before!r} before and {after!r} after", (before + text + after).encode()
