"""How far a merged model agrees with the trained one."""

from pathlib import Path

import numpy as np
import pytest

from dnatune.errors import ModelError
from dnatune.evaluation import agreement, metrics
from merge_records import storage_record

FOLDER = Path("results/merge/a")
TRAINED = np.log([[0.6, 0.3], [0.2, 0.7], [0.5, 0.4]])
MERGED = np.log([[0.6, 0.3], [0.6, 0.3], [0.4, 0.5]])


def compared(precision, dtype, merged=MERGED):
    return agreement.compare(
        precision,
        storage_record(dtype=dtype),
        FOLDER,
        TRAINED.argmax(axis=1).tolist(),
        merged.argmax(axis=1).tolist(),
        (TRAINED, merged),
        metrics.from_log_probabilities([0, 1, 1], MERGED),
    )


def test_what_the_merged_model_changes_is_counted():
    found = compared("bf16", "bf16")
    assert (found.precision, found.items, found.labels_changed) == ("bf16", 3, 2)
    assert found.largest_difference == np.log(0.6) - np.log(0.2)
    assert found.accuracy == 2 / 3 and found.mcc == 0.5
    assert found.sentence == (
        "2 of 3 answers differ from those of base + adapter, and log-probabilities by at most 1.1 nats"
    )


def test_texts_that_are_no_label_are_answers_too():
    of_merged = metrics.from_predictions([0, 1], [0, 1], 2)
    found = agreement.compare("fp32", storage_record(), FOLDER, [0, None, None], [0, None, 1], None, of_merged)
    assert found.labels_changed == 1 and found.largest_difference is None
    assert found.sentence == "1 of 3 answers differ from those of base + adapter"


@pytest.mark.parametrize("merged", [MERGED, np.full_like(TRAINED, np.nan)])
def test_without_rounding_a_difference_is_an_error(merged):
    with pytest.raises(ModelError, match="does not answer as base") as caught:
        compared("fp32", "fp32", merged)
    assert caught.value.where == str(FOLDER)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "fp32"), ("fp32", "bf16"), ("fp32", "fp16")])
def test_rounding_to_another_format_is_none(precision, dtype):
    assert compared(precision, dtype).labels_changed == 2


def test_a_difference_of_rounding_alone_is_none():
    assert compared("fp32", "fp32", TRAINED + 1e-5).labels_changed == 0
