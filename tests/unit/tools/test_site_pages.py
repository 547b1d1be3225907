"""The pages of the documentation: every one is listed, and every link leads somewhere."""

import os
import re
import shutil
import subprocess

import pytest

import site_pages
from samples import ROOT

#: Every page of the repository. What is made or installed is none.
PAGES = [
    line
    for line in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if (ROOT / line).exists()
]


def text_of(page):
    return (ROOT / page).read_text("utf-8")


def test_the_contents_list_every_page():
    assert len(PAGES) > 25
    assert sorted(site_pages.pages()) == sorted(PAGES)


def faults_of(page, text):
    """Return what is wrong with the links of a page."""
    faults = []
    for link in site_pages.links_of(text):
        if site_pages.is_external(link):
            faults += [] if re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", link) else [link]
            continue
        path, anchor = site_pages.target_of(page, link)
        is_there = not path.startswith("..") and (ROOT / path).is_file()
        if not is_there or (anchor and anchor not in site_pages.anchors_of(text if path == page else text_of(path))):
            faults.append(link)
    return faults


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    assert faults_of(page, text_of(page)) == []


def test_links_are_found_and_judged():
    links = [
        "../README.md",
        "../README.md#stages",
        "../Snakefile",
        "figures/loss.svg",
        "https://arxiv.org/abs/1",
        "#here",
    ]
    text = "# Here\n" + " ".join(f"[`a` b]({link})" for link in links)
    assert site_pages.links_of(text) == links
    assert faults_of("docs/cluster.md", text) == []
    wrong = [
        "../README.md#no",
        "none.md",
        "../../outside",
        "http://plain.org",
        "https://nowhere",
        "#there",
        "/README.md",
    ]
    assert faults_of("docs/cluster.md", "# Here\n" + " ".join(f"![x]({link})" for link in wrong)) == wrong
    assert site_pages.links_of("`[x](none.md)` and\n```\n[x](none.md)\n```\n") == []


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("`<output>.json`", "outputjson"),
        ("Runge–Kutta–Chebyshev", "rungekuttachebyshev"),
        ("28 tasks × 6", "28-tasks--6"),
    ],
)
def test_anchors_are_those_of_code_hosts(title, anchor):
    assert site_pages.anchors_of(f"## {title}\n") == {anchor}


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_what_a_browser_would_fetch_a_program_for(page):
    """The site's theme loads the program that draws mermaid diagrams from another server."""
    assert "mermaid" not in {block.language for block in site_pages.blocks_of(text_of(page))}


#: What is added to the README, and what the build then says.
SPOILT = {
    "nothing": ("", None),
    "a link to no page": ("[x](docs/none.md)", "docs/none.md"),
    "a link to no part of a page": ("[x](docs/cluster.md#none)", "#none"),
    "a list that only code hosts see": ("Text.\n- item", "README.md is not what a code host shows: <li>"),
    "a picture of another server": ("![x](https://example.org/x.png)", "README.md fetches https://example.org/x.png"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPOILT)
def test_the_site_is_built_and_a_fault_ends_it(name, tmp_path):
    """A copy of the pages is built with the environment of `make site`."""
    added, said = SPOILT[name]
    subprocess.run(["make", "site"], cwd=ROOT, check=True, timeout=600)
    for path in [*site_pages.pages(), *site_pages.linked_files(), "mkdocs.yml", "tools/site_pages.py"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    with (tmp_path / "README.md").open("a", encoding="utf-8") as stream:
        stream.write(f"\n{added}\n")
    done = subprocess.run(
        [ROOT / ".venv-site/bin/mkdocs", "build", "--strict"],
        cwd=tmp_path,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode == 0) == (said is None), done.stderr
    if said:
        assert said in done.stderr
    else:
        assert "comparison of ten optimizers" in (tmp_path / "build/site/docs/comparison.html").read_text("utf-8")
        assert (tmp_path / "build/site/config/config.yaml").is_file()
