"""The large files of the repository are the ones that are meant to be there, and tell nothing of the machine."""

import re

import pytest

from samples import ROOT

MB = 10**6
PAGES = sorted((ROOT / "docs").glob("*-report.html"))
#: Most bytes of each file: a page of results is to open at once, and the demo's base to come with a clone.
LARGE = {**{page: 5 * MB for page in PAGES}, ROOT / "config/demo-base/model.safetensors": 3 * MB}
#: Tables and figures inside a page, in letters that may spell anything.
_PAYLOAD = re.compile(r"(data:[^;,\"]*;base64,)[A-Za-z0-9+/=]+")


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.name)
def test_a_large_file_is_no_larger_than_it_may_be(path):
    assert 0 < path.stat().st_size <= LARGE[path]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_of_results_names_no_path_of_the_machine_that_made_it(page):
    text = _PAYLOAD.sub(r"\1", page.read_text("utf-8"))
    assert re.search(r'class="value">folder: \w', text)
    assert re.findall(r">[^<]*(?<![\w.<])/(?:work|tmp|root|home|Users|data|mnt|scratch)/[^<]*", text) == []
