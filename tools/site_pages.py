"""The documentation site's pages, links and navigation: a hook of mkdocs (mkdocs.yml), and what its tests read.

The pages stay where they are in the repository, and their links are those that a code host follows. The list in
docs/README.md says which pages the site has; a linked file that is no page, such as a configuration, is copied.
"""

import logging
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
HOME, CONTENTS = "README.md", "docs/README.md"
#: `mkdocs build --strict` fails after a warning of this logger.
_LOG = logging.getLogger("mkdocs.hooks.site_pages")
#: What is counted to tell whether a page looks as it does on a code host.
_ELEMENTS = {
    "h1",
    "h2",
    "h3",
    "ul",
    "ol",
    "li",
    "table",
    "tr",
    "td",
    "pre",
    "code",
    "blockquote",
    "img",
    "strong",
    "em",
}
_FENCE = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^ *\2 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


class Block(NamedTuple):
    """A fenced block: the language behind its fence, its text without indentation, and the line of the fence."""

    language: str
    text: str
    line: int


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in _FENCE.finditer(text):
        body = re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE)
        yield Block(match[3].strip(), body, text.count("\n", 0, match.start()) + 1)


def links_of(text: str) -> list[str]:
    """Return the targets of a page's links and images, without those that stand in code."""
    prose = _CODE.sub("", _FENCE.sub("", text))
    return _LINK.findall(prose)


def anchor_of(title: str, separator: str = "-") -> str:
    """Return the anchor that code hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", separator)


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", text), re.MULTILINE)
    return {anchor_of(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", "")) for title in titles}


def is_external(link: str) -> bool:
    """Return whether a link leads to another server."""
    return re.match(r"[a-z]+:", link) is not None


def target_of(page: str, link: str) -> tuple[str, str]:
    """Return the path from the root, and the anchor, that a link of a page leads to; the path may lead outside."""
    path, _, anchor = link.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path)) if path else page), anchor


def contents() -> dict[str, dict[str, str]]:
    """Return {section: {title: page}} of docs/README.md; a line that leads to a part of a page is not listed."""
    sections: dict[str, dict[str, str]] = {}
    for part in (ROOT / CONTENTS).read_text("utf-8").split("\n## ")[1:]:
        lines = re.findall(r"^- \[(.+)\]\(([^#)]+)\)$", part, re.MULTILINE)
        sections[part.partition("\n")[0]] = {title: target_of(CONTENTS, link)[0] for title, link in lines}
    return sections


def pages() -> list[str]:
    """Return the site's pages as paths from the root."""
    return [HOME, CONTENTS, *(page for listed in contents().values() for page in listed.values())]


def linked_files() -> list[str]:
    """Return the files that pages link to and that are no pages."""
    links = {target_of(page, link)[0] for page in pages() for link in local_links(page)}
    return sorted(links - {*pages()})


def local_links(page: str) -> list[str]:
    """Return the links of a page that do not lead to another server."""
    return [link for link in links_of((ROOT / page).read_text("utf-8")) if not is_external(link)]


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Give mkdocs the navigation, and anchors as code hosts make them."""
    listed = [{section: [{title: page} for title, page in one.items()]} for section, one in contents().items()]
    config.nav = [{"Home": [HOME, {"All pages": CONTENTS}]}, *listed]
    config.mdx_configs["toc"]["slugify"] = anchor_of
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Give mkdocs the pages and the files that they link to, with their paths from the root."""
    from mkdocs.structure.files import File

    theme = [file for file in files if file.generated_by or Path(file.src_dir) != Path(config.docs_dir)]
    ours = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in [*pages(), *linked_files()]]
    return type(files)([*theme, *ours])


class _Reader(HTMLParser):
    """Counts a page's elements, and notes what a browser would fetch for it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        self.elements[tag] += tag in _ELEMENTS
        name = "href" if tag == "link" else "src"
        self.fetched += [value or "" for key, value in attributes if key == name]


def on_page_content(html: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Warn of a page that has other lists, tables or blocks than on a code host; return it as it is."""
    from markdown_it import MarkdownIt

    there = _Reader(MarkdownIt("commonmark").enable("table").render(page.markdown or "")).elements
    here = _Reader(html).elements
    if differing := [f"<{tag}>: {here[tag]} here, {there[tag]} there" for tag in _ELEMENTS if here[tag] != there[tag]]:
        _LOG.warning("%s is not what a code host shows: %s", page.file.src_uri, "; ".join(sorted(differing)))
    return html


def on_post_page(output: str, page: "Page", config: "MkDocsConfig") -> str:
    """Warn of a page for which a browser fetches something from another server; return it as it is."""
    for address in filter(lambda one: re.match(r"(?:[a-z]+:)?//", one), _Reader(output).fetched):
        _LOG.warning("%s fetches %s", page.file.src_uri, address)
    return output
