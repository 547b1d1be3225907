"""Captions, flags and figures stand in one place; the pages that repeat them are up to date."""

import runpy

import jinja2
import pytest

from dnatune.report.legends import LEGENDS
from samples import ROOT

PAGES = runpy.run_path(str(ROOT / "docs/make_tables.py"))["pages"]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_with_generated_parts_is_up_to_date(page):
    assert page.read_text("utf-8") == PAGES[page], "run `make docs`"


@pytest.mark.parametrize("name", LEGENDS)
def test_the_caption_of_a_figure_is_chosen_by_its_name(name):
    caption = jinja2.Template((ROOT / "workflow/report/figures.rst").read_text("utf-8"))
    text = caption.render(snakemake={"wildcards": {"figure": name}})
    assert text.strip() == f"{LEGENDS[name].shows} {LEGENDS[name].reading}"
