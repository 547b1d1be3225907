"""CONTRIBUTING.md: its map is whole, its paths exist, and who follows a recipe half-way is told."""

import re
import typing

import pytest

from dnatune.comparison.results import FROZEN
from dnatune.evaluation import baselines
from dnatune.optimizers.specifications import METHODS
from dnatune.report.formatting import baseline_name
from dnatune.settings import scoring
from optimizer_flow import STAGED
from samples import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LIBRARY = ROOT / "workflow/dnatune"


def test_the_map_has_a_line_for_every_room():
    table = PAGE.split("| room |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([\w.]+)/?`", "\n".join(line.split("|")[1] for line in table.splitlines()[1:])))
    rooms = {path.name for path in LIBRARY.iterdir() if path.name not in ("__init__.py", "__main__.py", "__pycache__")}
    assert named == {room for room in rooms if room != "published.tsv"}


def test_every_path_that_it_names_is_there():
    paths = re.findall(r"`((?:workflow|tests|docs|profiles|tools)/[^`<{]*)`", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_baseline_can_be_configured_and_has_a_name_for_readers():
    assert {*baselines.CLASSIFIERS, FROZEN} == set(typing.get_args(scoring.Baseline))
    assert [name for name in (*baselines.CLASSIFIERS, FROZEN, "bayes") if baseline_name(name) == name] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_method_stands_in_the_table_of_methods(name):
    table = (ROOT / "docs/optimizers.md").read_text("utf-8").split("## The methods")[1].split("\n\n")[1]
    assert re.search(rf"^\| `{name}`", table, re.M)


def test_a_method_with_several_gradients_is_tested_along_the_flow():
    several = {name for name, method in METHODS.items() if callable(method.stages) or method.stages > 1}
    assert several == {name for name, _ in STAGED}
