"""How far a merged model agrees with the trained one."""

import numpy as np

from dnatune.evaluation import agreement, metrics


def test_what_the_merged_model_changes_is_counted():
    trained = np.log([[0.6, 0.3], [0.2, 0.7], [0.5, 0.4]])
    merged = np.log([[0.6, 0.3], [0.6, 0.3], [0.4, 0.5]])
    found = agreement.compare(
        "bf16", [0, 1, 0], [0, 0, 1], (trained, merged), metrics.from_log_probabilities([0, 1, 1], merged)
    )
    assert (found.precision, found.items, found.labels_changed) == ("bf16", 3, 2)
    assert found.largest_difference == np.log(0.6) - np.log(0.2)
    assert found.accuracy == 2 / 3 and found.mcc == 0.5


def test_texts_that_are_no_label_are_answers_too():
    found = agreement.compare("fp32", [0, None, None], [0, None, 1], None, metrics.from_predictions([0, 1], [0, 1], 2))
    assert found.labels_changed == 1 and found.largest_difference is None
