"""Metrics against their textbook formulas, worked out here without scikit-learn."""

import math
import subprocess
import sys

import numpy as np
import pytest

from dnatune import inference
from dnatune.data.prompts import EncodedExamples
from dnatune.evaluation import metrics
from dnatune.evaluation.predictions import write_generated, write_predictions
from dnatune.inference.probabilities import class_probabilities


def draw(classes, n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[labels]
    # 10 % of the mass lies on answers that are no label.
    return labels, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)) + math.log(0.9)


def brute_auc(truth, score):
    above = [(a > b) + 0.5 * (a == b) for a in score[truth] for b in score[~truth]]
    return sum(above) / len(above)


def test_two_classes_by_the_formulas():
    labels, scores = draw(2)
    got = metrics.from_log_probabilities(labels.tolist(), scores)
    guess = scores.argmax(axis=1)
    tp, tn = ((guess == 1) & (labels == 1)).sum(), ((guess == 0) & (labels == 0)).sum()
    fp, fn = ((guess == 1) & (labels == 0)).sum(), ((guess == 0) & (labels == 1)).sum()
    p1 = np.exp(scores[:, 1]) / np.exp(scores).sum(axis=1)
    expected = {
        "accuracy": (tp + tn) / len(labels),
        "mcc": (tp * tn - fp * fn) / math.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "f1_macro": (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2,
        "precision_macro": (tp / (tp + fp) + tn / (tn + fn)) / 2,
        "recall_macro": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "auroc": brute_auc(labels == 1, p1),
        "brier": 2 * ((p1 - labels) ** 2).mean(),
        "off_label_mass": 0.1,
    }
    assert {key: got.score(key) for key in expected} == pytest.approx(expected, abs=1e-12)
    assert got.confusion == [[tn, fp], [fn, tp]]
    assert got.n == 400 and got.unparsable == 0 and got.status == "completed"


def test_three_classes_are_macro_averaged():
    labels, scores = draw(3)
    got = metrics.from_log_probabilities(labels.tolist(), scores)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    areas = [brute_auc(labels == c, probabilities[:, c]) for c in range(3)]
    assert got.auroc == pytest.approx(np.mean(areas), abs=1e-12)
    # Gorodkin 2004: MCC as a correlation of indicator matrices.
    x, y = np.eye(3)[labels], np.eye(3)[scores.argmax(axis=1)]
    covariance = lambda a, b: ((a - a.mean(0)) * (b - b.mean(0))).sum()  # noqa: E731
    mcc = covariance(x, y) / math.sqrt(covariance(x, x) * covariance(y, y))
    assert got.mcc == pytest.approx(mcc, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_auroc_is_that_of_the_tests_and_of_no_rounded_probabilities(classes):
    labels, scores = draw(classes)
    scores[:, -1] += 60  # nats, so that this class has a probability of 1 for every item
    assert len(np.unique(class_probabilities(scores)[:, -1])) == 1
    got = metrics.from_log_probabilities(labels.tolist(), scores)
    tested = inference.measure(scores[None], labels, "auroc").values[0]
    assert got.auroc == pytest.approx(tested, abs=1e-12) and got.auroc > 0.65
    assert got.auprc > (labels == 1).mean() + 0.1


def test_a_class_that_no_item_has_is_in_no_mean():
    got = metrics.from_predictions([0, 0, 1, 1], [0, 0, 1, 1], 3)
    assert [got.score(key) for key in ("f1_macro", "precision_macro", "recall_macro")] == [1, 1, 1]
    truth, guess = [0, 0, 1, 1, 1], [0, 2, 1, 1, 0]
    measured = inference.measure(np.array([guess]), np.array(truth), "f1_macro")
    assert metrics.from_predictions(truth, guess, 3).f1_macro == pytest.approx(measured.values[0], abs=1e-12)


def test_the_loss_of_knowing_only_the_shares_of_the_classes():
    """Three answers of two tokens and one of four: as many nats as four draws, over ten tokens."""
    examples = EncodedExamples([1], [[2], [3], [4], [5]], [0, 2, 0, 0], [[6, 0], [7, 0], [8, 9, 10, 0]])
    expected = -(3 * math.log(3 / 4) + math.log(1 / 4)) / (3 * 2 + 4)
    assert metrics.class_share_loss(examples) == pytest.approx(expected, rel=1e-14)
    # Of one class, or of no example, there is nothing to know.
    assert metrics.class_share_loss(examples.subset([0, 2])) is None
    assert metrics.class_share_loss(examples.subset([])) is None


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.97, 0.55, 0.56])
    correct = np.array([True, False, True, True])
    # One bin from 14/15 up: accuracy .5, confidence .96. One from 8/15 up: accuracy 1, confidence .555.
    expected = 0.5 * abs(0.5 - 0.96) + 0.5 * abs(1 - 0.555)
    assert metrics.expected_calibration_error(confidence, correct) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_scores_of_a_confusion_matrix_are_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    for _ in range(30):
        confusion = rng.integers(0, 6, size=(classes, classes)) * rng.integers(0, 2, size=(classes, 1))
        if not confusion.any():
            continue
        truth, guess = (places.ravel().repeat(confusion.ravel()) for places in np.indices(confusion.shape))
        expected = metrics.from_predictions(truth.tolist(), guess.tolist(), classes)
        for name, value in metrics.from_confusion(confusion).items():
            assert value == (None if expected.score(name) is None else pytest.approx(expected.score(name), abs=1e-12))


def test_training_imports_no_scikit_learn():
    code = "import sys, dnatune.training.loop, dnatune.commands.finetune; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_unparsable_answer_is_wrong_and_no_class():
    got = metrics.from_predictions([0, 0, 1, 1], [0, None, 1, None], 2)
    assert got.accuracy == 0.5 and got.unparsable == 2
    assert got.confusion == [[1, 0], [0, 1]]
    assert got.recall_macro == 0.5 and got.precision_macro == 1.0
    assert got.auroc is None and got.brier is None
    # Counted as "non-promoter", as the original did, the second item would have been right.
    assert got.accuracy < metrics.from_predictions([0, 0, 1, 1], [0, 0, 1, 0], 2).accuracy


def test_one_class_in_the_labels_withholds_ranking_metrics():
    got = metrics.from_log_probabilities([1, 1, 1], np.log(np.full((3, 2), 0.5)))
    assert got.auroc is None and got.auprc is None
    # 0 ÷ 0: no score that could be ranked with others.
    assert got.mcc is None
    assert got.accuracy == 0.0 and got.f1_macro == 0.0
    assert metrics.from_confusion(np.array([[3, 1], [0, 0]]))["mcc"] is None
    assert metrics.from_confusion(np.array([[3, 0], [1, 0]]))["mcc"] == 0.0


def test_a_diverged_run_has_no_metric():
    assert {key for key, value in metrics.diverged() if value is not None} == {"status", "n", "seconds"}


def test_predictions_files(tmp_path):
    write_predictions(tmp_path / "p.tsv", [1, 0], np.array([[-2.0, -0.5], [-0.25, -3.0]]), 2)
    assert (tmp_path / "p.tsv").read_text().splitlines() == [
        "id\tlabel\tpredicted\tlogp_0\tlogp_1",
        "0\t1\t1\t-2\t-0.5",
        "1\t0\t0\t-0.25\t-3",
    ]
    write_generated(tmp_path / "a.tsv", [1, 0], [None, 0], ["dnon-\tpromoter\n", "Non-promoter"])
    assert (tmp_path / "a.tsv").read_text().splitlines()[1:] == ["0\t1\t\tdnon- promoter", "1\t0\t0\tNon-promoter"]
