"""The page of models that answer in two ways says which does which, and what compares."""

from huggingface_hub import ModelCard

from dnatune.data.manifests import Manifest
from dnatune.evaluation.metrics import Metrics
from dnatune.report.model_card import model_card
from dnatune.training.record import Run
from merge_records import merge_record
from report_pages import base_of, evidence_of, render, words
from synthetic_results import Results

COMPARABLE = "scores on the test items compare across both"


def results_of(folder, *, decoder):
    made = Results(folder)
    for optimizer in ("adamw", "sgd"):
        for seed in range(3):
            made.add_run(optimizer, seed, model="encoder", head="classification")
            if decoder:
                made.add_run(optimizer, seed)
    made.add_baseline("gc", 0.3)
    made.add_baseline_that_does_not_apply("onehot", "the sequences are not of one length")
    made.add_audit()
    return made


def cells_of(page):
    """Return the number of columns that each row of the leaderboard takes."""
    table = page.split('<section id="leaderboard">')[1].split("</table>")[0]
    rows = [row for row in table.split("<tr>")[1:] if "<t" in row]
    spans = [row.count("<td") + row.count("<th") + row.count('colspan="15"') * 14 for row in rows]
    return {count + row.count('colspan="16"') * 15 for count, row in zip(spans, rows, strict=True)}


def test_models_of_both_heads_on_one_page(tmp_path):
    results = results_of(tmp_path, decoder=True)
    page = render(results, zero_shots=[base_of(results)])
    text = words(page)
    assert "encoder has a classification head and the other models answer with label words" in text
    assert COMPARABLE in text
    assert page.count('<td class="text">classification</td>') == page.count('<td class="text">label words</td>') == 2
    assert "Not asked: encoder." in text
    assert cells_of(page) == {16}
    # Optimizers are tested within a model.
    assert {row.model for row in evidence_of(results).tests} == {"encoder", "tiny"}


def test_a_page_of_one_head_compares_nothing_across(tmp_path):
    text = words(render(results_of(tmp_path, decoder=False)))
    assert COMPARABLE not in text
    assert "Not asked: encoder." in text


def test_a_page_without_encoders_says_nothing_of_heads(tmp_path):
    results = Results(tmp_path)
    results.add_run("adamw")
    results.add_run("sgd")
    results.add_audit()
    page = render(results)
    assert "Not asked" not in page
    assert '<th scope="col">head</th>' not in page
    assert cells_of(page) == {15}


def test_the_card_of_an_encoder_says_how_it_is_asked(tmp_path):
    results = results_of(tmp_path, decoder=False)
    record, metrics = Run.read(results.run_records[0]), Metrics.read(results.evaluations[0] / "metrics.json")
    hub = Manifest(source="hub", origin="a/b", requested="main", revision="a" * 40, settings={}, files={}, large={})
    card = ModelCard(model_card(record, metrics, merge_record(), hub))
    assert card.data.pipeline_tag == "text-classification"
    assert 'pipeline("text-classification"' in card.text
    assert "Is it one?" not in card.text
    # Older versions were tried with causal language models alone.
    assert "No other version" in card.text and "4.57" not in card.text
