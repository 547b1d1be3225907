"""Scores are kept only while they, and all that they were made from, are the same."""

import pytest

from dnatune.evaluation.scored import FILE, Scored, holds

MADE_FROM = {name: name[::-1] for name in ("run", "test", "model", "settings", "code")}


@pytest.fixture
def scored(tmp_path):
    """A folder with scores."""
    for name in ("predictions.tsv", "metrics.json"):
        (tmp_path / name).write_text(name, "utf-8")
    Scored.of(tmp_path, MADE_FROM, ["predictions.tsv", "metrics.json"]).write(tmp_path / FILE)
    return tmp_path


def test_the_same_scores_stay(scored):
    assert holds(scored, MADE_FROM)


@pytest.mark.parametrize("part", MADE_FROM)
def test_scores_of_something_else_do_not_stay(part, scored):
    assert not holds(scored, {**MADE_FROM, part: "other"})


@pytest.mark.parametrize("name", ["predictions.tsv", "metrics.json", "scored.json"])
@pytest.mark.parametrize("content", [None, "", "{}"])
def test_damaged_or_missing_scores_do_not_stay(name, content, scored):
    if content is None:
        (scored / name).unlink()
    else:
        (scored / name).write_text(content, "utf-8")
    assert not holds(scored, MADE_FROM)
