"""The commands that the pages tell a reader to type."""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import site_pages
from samples import ROOT

_PROGRAMS = r"(?:make|snakemake|python|git|pip|chmod|export|awk|benchmarks/gpu\.sh)"
#: The beginning of a line that is a command.
BEGINS = re.compile(rf"(?:\w+=\S* )*(?:/\S+/)?(?:\.venv/bin/)?{_PROGRAMS}\b|\w+=\$\(")
_HEREDOC = re.compile(r" *<<'(\w+)'\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """One command of a page: where it stands, as it stands, its program without a folder, and the words behind it.

    `code` is what stands in a here-document for it."""

    page: str
    line: int
    text: str
    program: str
    words: tuple[str, ...]
    code: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def command_blocks(page: str) -> list[site_pages.Block]:
    """Return the fenced blocks of a page that begin with a command; every line of them belongs to one."""
    blocks = site_pages.blocks_of((ROOT / page).read_text("utf-8"))
    return [block for block in blocks if block.language in ("", "sh") and BEGINS.match(block.text)]


def commands_of(page: str) -> Iterator[Command]:
    """Yield the commands of a page."""
    for block in command_blocks(page):
        yield from commands_in(block.text, page, block.line)


def commands_in(text: str, page: str, line: int) -> Iterator[Command]:
    """Yield the commands of a text that stands at a line of a page."""
    heredoc = _HEREDOC.search(text)
    text = _HEREDOC.sub("", text).replace("\\\n", " ")
    for part in text.splitlines():
        # The one placeholder that a shell would take for redirections.
        lexer = shlex.shlex(part.replace("<this repository>", "REPOSITORY"), posix=True, punctuation_chars="&|<>")
        lexer.whitespace_split = True
        for one in _split(list(lexer), "&&"):
            told = one[: next((number for number, word in enumerate(one) if word in ("<", ">", "|")), len(one))]
            bare = [word for number, word in enumerate(told) if not _is_assignment(told[: number + 1])]
            name = re.sub(r"^(?:/\S+|\.venv)/bin/", "", bare[0]) if bare else told[0]
            code = heredoc[2] if heredoc else None
            yield Command(page, line, " ".join(part.split("  #")[0].split()), name, tuple(bare[1:]), code)


def _split(words: list[str], separator: str) -> Iterator[list[str]]:
    while separator in words:
        place = words.index(separator)
        yield words[:place]
        words = words[place + 1 :]
    yield words


def _is_assignment(words: list[str]) -> bool:
    """Return whether the last of the first words of a command sets a variable for it."""
    return all(re.match(r"[A-Z_]+=", word) for word in words)
