"""Dropout acts in every training step, however often the dev split is scored in between."""

import pytest
from workflow_runs import Workplace, small

from dnatune.files import read_json_lines

RUN = "finetune/tiny/prom_core_all/adamw/seed3/training.jsonl"


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """Return a function that trains and returns the losses."""
    workplace = Workplace(tmp_path_factory.mktemp("mode"))

    def train(name, dropout, evaluation_steps):
        settings = small(
            name=name,
            optimizers={"wild": None},
            budget={"steps": 6},
            lora={"dropout": dropout},
            training={"evaluation_steps": evaluation_steps},
        )
        workplace.complete(settings, f"results/{name}/{RUN}")
        return [row["loss"] for row in read_json_lines(workplace.folder / "results" / name / RUN)]

    return train


def test_scoring_the_dev_split_changes_no_step_and_dropout_acts_from_the_first(losses):
    seldom, often, without = losses("seldom", 0.5, 1000), losses("often", 0.5, 1), losses("without", 0.0, 1000)
    assert seldom == often
    # A fresh adapter adds nothing, so the first loss is the same; what the first step learnt is not.
    assert without[0] == pytest.approx(seldom[0], rel=1e-6)
    assert without[1] != pytest.approx(seldom[1], rel=1e-6)
