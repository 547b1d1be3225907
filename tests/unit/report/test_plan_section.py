"""The section of the page that shows the plan, and the cautions that follow from it."""

import pytest

from dnatune.comparison import plan
from report_pages import render, words
from synthetic_results import Results


@pytest.fixture
def results(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", skill=1.0)
    made.add_run("sgd", skill=0.5)
    made.add_baseline("gc", 0.2)
    made.add_baseline("kmers", 0.6)
    made.add_baseline_that_does_not_apply("onehot", "the sequences differ in length")
    return made


def section(page: str, name: str = "plan") -> str:
    return words(page.split(f'<section id="{name}"')[1].split("</section>")[0])


def test_it_names_the_control_and_what_it_was_chosen_among(results):
    said = section(render(results))
    assert "Primary metric: MCC. Control: k-mers." in said
    assert "No test score existed then, and nothing was changed afterwards." in said
    # Cells of a table stand next to each other once the tags are gone.
    assert "dev MCC of base at each placenot applicable" in said


def test_a_change_after_test_scores_is_in_the_section_and_among_the_cautions(results):
    (path,) = results.plans()
    content = plan.Plan.read(path).content.model_copy(update={"equivalence_margin": 0.5})
    plan.revise(path, "tiny", "prom_core_all", content, 5)
    page = render(results)
    change = "5 test scores existed, the plan was changed: equivalence_margin: 0.01 → 0.5"
    assert change in section(page)
    # `plans` of the synthetic results goes back to 0.01, which is a third version and hides nothing.
    assert change in section(page, "answer")
