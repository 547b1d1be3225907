"""Made-up base models: what knows labels is flagged, what knows none is not; the long form is docs/contamination.md."""

import numpy as np
import pytest

from contamination_power import MadeUp, Scores, known_bases, null_bases, signs
from dnatune.data.records import Split, read_csv
from dnatune.data.sequences import reverse_complement
from dnatune.data.simulation import SimulationSettings, simulate
from dnatune.evaluation import questions
from dnatune.settings.tasks import GUE
from samples import split_of

EVERYWHERE = ("test", "dev", "train")


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    settings = SimulationSettings(train_size=1_500, dev_size=500, test_size=500)
    return {name: split_of(rows) for name, rows in simulate(settings).items()}


@pytest.fixture(scope="module")
def asked(splits):
    return questions.prepare(splits["train"], splits["dev"], splits["test"], 2, 2_000)


@pytest.mark.parametrize("base", null_bases(), ids=lambda base: base.preference)
def test_a_base_that_knows_nothing_is_not_flagged(base, splits, asked):
    assert list(signs(base, splits, asked, range(4))) == [[]] * 4


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("preference", ["nothing", "AT"])
def test_a_base_that_knows_a_third_of_all_splits_is_flagged(preference, tolerant, splits, asked):
    base = MadeUp(preference, 1 / 3, EVERYWHERE, tolerant)
    assert all("knows_the_labels" in raised for raised in signs(base, splits, asked, range(3)))


def test_a_base_that_knows_the_other_strand_is_flagged(splits, asked):
    base = MadeUp(share=1.0, splits=("test",), other_strand=True)
    assert list(signs(base, splits, asked, range(2))) == [["knows_the_other_strand"]] * 2


def test_a_tolerant_memory_recognises_changed_items_and_no_others(splits, asked):
    base = MadeUp(share=1.0, splits=("test",), tolerant=True)
    scores = Scores(base, splits, 0)
    known = np.array(asked.test.labels)
    for split, share in ((asked.test, 1.0), (asked.changed, 0.98)):
        assert (scores._recalled(split.sequences) == known).mean() >= share
    others = [*asked.dev.sequences, *map(reverse_complement, asked.test.sequences)]
    assert (scores._recalled(others) < 0).mean() > 0.98


@pytest.mark.slow
def test_the_counts_in_the_documentation(shared):
    """On real promoters: few false flags, and most of what the documentation says is detected."""
    task = GUE["prom_core_tata"]
    splits = {name: read_csv(shared / f"GUE/GUE/{task.name}/{name}.csv", task) for name in EVERYWHERE}
    asked = questions.prepare(splits["train"], splits["dev"], splits["test"], 2, 2_000)
    flagged = [any(raised) for base in null_bases() for raised in signs(base, splits, asked, range(150))]
    # 600 draws at a level of .01: more than 13 have a probability below .005.
    assert sum(flagged) <= 13
    caught = {
        base: sum(map(bool, signs(base, splits, asked, range(10)))) for base in known_bases() if base.share >= 0.2
    }
    assert min(caught.values()) >= 7
