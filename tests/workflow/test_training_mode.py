"""Training as finetune.py sets it up: dropout in every step, ranks that have nothing to do."""

import pytest

from dnatune.files import read_json_lines
from workflow_runs import said


@pytest.mark.slow
def test_scoring_the_dev_split_changes_no_step_and_dropout_acts_from_the_first(start_training, tmp_path):
    def losses(name, dropout, evaluation_steps):
        changes = {"lora": {"dropout": dropout}, "training": {"evaluation_steps": evaluation_steps}}
        said(start_training(tmp_path / name, budget={"steps": 6}, **changes))
        return [row["loss"] for row in read_json_lines(tmp_path / name / "training.jsonl")]

    seldom, often, without = losses("seldom", 0.5, 1000), losses("often", 0.5, 1), losses("without", 0.0, 1000)
    assert seldom == often
    # A fresh adapter adds nothing, so the first loss is the same; what the first step learnt is not.
    assert without[0] == pytest.approx(seldom[0], rel=1e-6)
    assert without[1] != pytest.approx(seldom[1], rel=1e-6)


@pytest.mark.slow
def test_a_rank_without_an_example_changes_nothing(start_training, tmp_path):
    """A batch and a dev split of one example, on one rank and on two."""
    alone = {"global_batch_size": 1, "dev_examples": 1, "evaluation_steps": 2}
    found = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        said(start_training(folder, ranks, budget={"steps": 4}, training=alone))
        rows = read_json_lines(folder / "training.jsonl")
        found.append([[row["loss"], row.get("dev_loss", 0.0), row.get("dev_accuracy", 0.0)] for row in rows])
    assert found[1] == [pytest.approx(row, rel=1e-5) for row in found[0]]
