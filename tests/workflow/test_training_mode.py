"""Training as finetune.py sets it up: dropout in every step, ranks that have nothing to do."""

import pytest
import yaml
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


def test_a_rank_without_an_example_changes_nothing(tmp_path):
    """A batch and a dev split of one example, on one rank and on two."""
    alone = small(
        name="alone",
        optimizers={"wild": None},
        budget={"steps": 4},
        training={"global_batch_size": 1, "dev_examples": 1, "evaluation_steps": 2},
    )
    found = []
    for ranks in (1, 2):
        workplace = Workplace(tmp_path / str(ranks))
        site = yaml.safe_load(workplace.site.read_text())
        workplace.site.write_text(yaml.safe_dump({**site, "ranks_per_node": ranks}))
        workplace.complete(alone, f"results/alone/{RUN}")
        rows = read_json_lines(workplace.folder / "results/alone" / RUN)
        found.append([[row["loss"], row.get("dev_loss", 0.0), row.get("dev_accuracy", 0.0)] for row in rows])
    assert found[1] == [pytest.approx(row, rel=1e-5) for row in found[0]]
