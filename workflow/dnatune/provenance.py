"""What made a result: software versions, git commit, code digest, hardware."""

import ast
import importlib.metadata
import io
import itertools
import os
import platform
import shutil
import subprocess
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from dnatune.errors import ConfigurationError
from dnatune.files import digest

_LIBRARY = Path(__file__).resolve().parent
#: Modules and packages of the library, by the last part of their name, that hold text for people alone: no result
#: depends on them, so they and what they import stay out of a stage's digest.
_LEFT_OUT = frozenset({"messages"})
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LOGGERS = ("_LOG", "logging")
#: What stands for tokens without a text of their own, and for a cut text; no token of Python reads so.
_INDENT, _DEDENT, _NEWLINE, _MESSAGE, _DOCSTRING = " >", " <", "\n", " message", " docstring"
_UNSEEN = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)

#: Line from 1 and column from 0, in characters, as tokenize counts them.
_Position = tuple[int, int]
#: What stands for a commit that git cannot tell.
UNKNOWN = "unknown"
_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "tokenizers", "snakemake")


def software(script: Path) -> dict[str, str | None]:
    """Return versions of Python and the packages that matter, the git commit and the digest of a stage's code.

    Args:
        script: the script of the stage.
    """
    installed = packages()
    versions = {"python": platform.python_version(), **{name: installed.get(name) for name in _PACKAGES}}
    return {**versions, "git_commit": git_commit(), "code": code_digest(script)}


def packages() -> dict[str, str]:
    """Return the version of every package of this environment, by name in lower case."""
    found = {dist.metadata["Name"].lower(): dist.version for dist in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def cpu_model() -> str:
    """Return the name of this machine's processor."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text("utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(environment: Mapping[str, str]) -> int:
    """Return the number of NVIDIA GPUs that a job started here would see, without loading torch.

    Raises:
        ConfigurationError: nvidia-smi does not answer.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([device for device in chosen.split(",") if device.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            "nvidia-smi has not answered for 20 s, so the GPUs of this machine cannot be counted",
            fix="give gpus_per_node in the site file, set CUDA_VISIBLE_DEVICES, or have the driver repaired",
        ) from None
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0


def git_commit() -> str | None:
    """Return the checkout's commit, with `+` where tracked files differ from it.

    None outside a checkout: the repository around a folder of packages says nothing of dnatune. `unknown` where git
    cannot tell.
    """
    checkout = _LIBRARY.parents[1]
    if not (checkout / ".git").exists():
        return None
    command = [
        "git",
        # git refuses a checkout of another user, whose settings could name programs to run. This one's own code is
        # running already.
        *("-c", f"safe.directory={checkout}"),
        *("-C", str(checkout)),
        *("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"),
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def code_digest(script: Path) -> str:
    """Return a digest of a script and of all that it imports from the library, however deep and however late.

    It tells results of different code apart, and stays where only another stage's code has changed, or only what
    `essence` leaves out. The modules of `_LEFT_OUT` are not part of it.
    """
    found: dict[Path, list[str]] = {}
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in found:
            text = _text(file.read_bytes())
            tree = ast.parse(text)
            found[file] = _essence(text, tree)
            waiting += [path for path in _imports(tree) if not _is_left_out(path)]
    return digest({file.name if file == script else str(file.relative_to(_LIBRARY)): found[file] for file in found})


def essence(source: bytes) -> list[str]:
    """Return a module's tokens without what is for people: docstrings, comments, layout and texts of messages.

    A message's text is every string in the arguments of a call that is raised or that logs. All other strings stay,
    for prompts are strings. Everything is found and cut by its position in the text, so that the versions of Python,
    whose syntax trees and tokens of f-strings differ, agree.
    """
    text = _text(source)
    return _essence(text, ast.parse(text))


def _text(source: bytes) -> str:
    return source.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n") + "\n"


def _essence(text: str, tree: ast.Module) -> list[str]:
    cuts, closers = _cuts(text, tree)
    kept: list[str] = []
    end: _Position = (0, 0)
    for start, stop, token in _tokens(text):
        if start < end:
            continue
        if start in cuts:
            end, replacement = cuts[start]
            kept += replacement
        elif kept and kept[-1] == _DOCSTRING and token in (_NEWLINE, ";"):
            # What ended a docstring's line goes with it.
            kept.pop()
        else:
            # The formatter sets a comma where a comment keeps a bracket open; in these brackets it says nothing.
            if stop in closers and kept[-1] == ",":
                kept.pop()
            kept.append(token)
    return kept


def _cuts(text: str, tree: ast.Module) -> tuple[dict[_Position, tuple[_Position, list[str]]], set[_Position]]:
    """Return {start: (end, what stands for it)} of the texts to cut, and where brackets end that need no last comma."""
    lines = text.split("\n")

    def place(line: int, offset: int) -> _Position:
        # ast counts bytes of UTF-8.
        whole = lines[line - 1]
        return line, offset if whole.isascii() else len(whole.encode()[:offset].decode())

    cuts, closers = {}, set()
    for node, replacement in _found(tree):
        end = place(node.end_lineno, node.end_col_offset)
        if replacement is None:
            closers.add(end)
        else:
            cuts[place(node.lineno, node.col_offset)] = (end, replacement)
    return cuts, closers


def _found(node: ast.AST, message: bool = False) -> Iterator[tuple[ast.AST, list[str] | None]]:
    """Yield each text to cut with what stands for it, and each bracketed node with None.

    Args:
        node: where to look.
        message: whether it is part of a message.
    """
    if isinstance(node, _DOCUMENTED):
        alone = len(node.body) == 1 and not isinstance(node, ast.Module)
        for docstring in _docstrings(node):
            yield docstring, ["pass"] if alone else [_DOCSTRING]
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        if message:
            yield node, [_MESSAGE]
        # Python 3.11 has wrong positions inside an f-string.
        return
    if isinstance(node, ast.Call | ast.List | ast.Dict | ast.Set):
        yield node, None
    told = {id(node.exc)} if isinstance(node, ast.Raise) else set()
    for child in ast.iter_child_nodes(node):
        is_call = isinstance(child, ast.Call) and (id(child) in told or _logs(child))
        yield from _found(child, message or is_call)


def _docstrings(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the docstring of a module, class or function, and those behind the fields of a class."""
    if ast.get_docstring(node, clean=False) is not None:
        yield node.body[0]
    if isinstance(node, ast.ClassDef):
        for field, behind in itertools.pairwise(node.body):
            value = behind.value if isinstance(field, ast.AnnAssign) and isinstance(behind, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield behind


def _logs(call: ast.Call) -> bool:
    """Tell whether a call is one of a logger's methods."""
    function = call.func
    return (
        isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in _LOGGERS
    )


def _tokens(text: str) -> Iterator[tuple[_Position, _Position, str]]:
    """Yield start, end and text of each token that counts; an f-string is one token in every version of Python."""
    opened: list[_Position] = []
    lines = text.split("\n")
    stand_in = {tokenize.INDENT: _INDENT, tokenize.DEDENT: _DEDENT, tokenize.NEWLINE: _NEWLINE}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name in ("FSTRING_START", "TSTRING_START"):
            opened.append(token.start)
        elif name in ("FSTRING_END", "TSTRING_END"):
            start = opened.pop()
            if not opened:
                yield start, token.end, _between(lines, start, token.end)
        elif not opened and token.type not in _UNSEEN:
            yield token.start, token.end, stand_in.get(token.type, token.string)


def _between(lines: list[str], start: _Position, end: _Position) -> str:
    """Return the text from one position to another."""
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "\n".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])


def _is_left_out(file: Path) -> bool:
    """Tell whether a file of the library is one of `_LEFT_OUT`, or lies in one."""
    return not _LEFT_OUT.isdisjoint(file.relative_to(_LIBRARY).with_suffix("").parts)


def _imports(tree: ast.Module) -> list[Path]:
    """Return the files of the library that a module imports."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    own = [name.split(".")[1:] for name in names if name.split(".")[0] == _LIBRARY.name]
    parts = [parts[:depth] for parts in own for depth in range(len(parts) + 1)]
    places = {_LIBRARY.joinpath(*part) for part in parts} - {_LIBRARY}
    return [path for place in sorted(places) for path in _files(place) if path.is_file()]


def _files(place: Path) -> list[Path]:
    """Return the files that an import of a module or package reads."""
    package = place / "__init__.py"
    if package.is_file() and "def __getattr__(" in package.read_text("utf-8"):
        # All files of this package: some of them are imported by name, when they are asked for.
        return sorted(place.glob("*.py"))
    return [place.with_suffix(".py"), package]
