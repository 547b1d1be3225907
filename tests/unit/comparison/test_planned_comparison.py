"""The plan: what it fixes, and that a later change of it cannot be hidden."""

import pytest

from dnatune.comparison import plan
from dnatune.errors import DataError
from dnatune.settings.experiment import resolve
from workflow_runs import small

SCORES = {"kmers": 0.4, "onehot": 0.6, "positional": None}


def content(scores=SCORES, **changes):
    """Return the content of the plan of the small configuration, with some dev scores."""
    return plan.content_of(resolve(small(**changes)).plan_settings("tiny", "prom_core_all"), scores)


@pytest.fixture
def revise(tmp_path):
    """Return a function that writes a content, with a number of test scores at hand, as the stage does it."""

    def write(made, test_scores=0):
        return plan.revise(tmp_path / "plan.json", "tiny", "prom_core_all", made, test_scores)

    return write


def test_the_control_is_the_one_with_the_best_dev_score(revise):
    assert revise(content()).content.control == "onehot"


def test_a_task_to_which_no_control_applies_has_none(revise):
    assert revise(content({"positional": None})).content.control is None


def test_a_plan_made_before_any_test_score_has_no_departures(revise):
    assert revise(content()).departures() == []


def test_the_same_plan_made_again_is_no_new_version(revise):
    first = revise(content())
    assert revise(content(), 7) == first


def test_a_change_before_any_test_score_is_kept_and_is_no_departure(revise):
    revise(content())
    made = revise(content(seeds=[3, 4]))
    assert [one.changes for one in made.versions] == [[], ["seeds: [3] → [3, 4]"]]
    assert made.departures() == []


def test_a_change_after_test_scores_is_a_departure_that_says_what_changed(revise):
    revise(content())
    changes = {"seeds": [3, 4], "comparison": {"equivalence_margin": 0.05}, "lora": {"rank": 2}}
    (departure,) = revise(content({**SCORES, "kmers": 0.7}, **changes), 2).departures()
    for part in (
        "2 test scores",
        "seeds: [3] → [3, 4]",
        "equivalence_margin: 0.01 → 0.05",
        "lora.rank: 4 → 2",
        "dev_scores.kmers: 0.4 → 0.7",
        'control: "onehot" → "kmers"',
    ):
        assert part in departure


def test_going_back_to_the_first_plan_does_not_hide_the_departure(revise):
    first = revise(content())
    revise(content(seeds=[3, 4]), 1)
    made = revise(content(), 2)
    assert len(made.departures()) == 2
    assert made.versions[-1].digest == first.versions[0].digest


def test_an_optimizer_that_came_or_went_is_named_without_all_its_settings(revise):
    other = {"late": {"method": "sgd", "learning_rate": 0.1}}
    revise(content())
    revise(content(optimizers=other), 1)
    came, went = revise(content(), 2).departures()
    assert "optimizers.late: added" in came and "optimizers.late: removed" in went
    assert "learning_rate" not in came + went


def test_a_plan_first_made_after_test_scores_says_so(revise):
    assert revise(content(), 1).departures() == ["The plan was written when test scores already existed (1)."]


def test_what_cannot_change_a_result_is_not_in_the_plan(revise):
    first = revise(content())
    assert revise(content(training={"logging_steps": 7}, keep_merged=False), 1) == first


@pytest.mark.parametrize("text", ["", "[]", '{"versions": [{}]}', '{"model": "a", "task": "b", "versions": 1}'])
def test_a_damaged_plan_is_one_message_that_names_the_file(revise, tmp_path, text):
    (tmp_path / "plan.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"plan\.json"):
        revise(content())
