"""False verdicts with few items of a class: the degrees of freedom of that class keep them rare."""

import numpy as np

import rarest_class


def test_the_degrees_of_freedom_of_the_rarest_class_reject_less():
    found = rarest_class.shares("hard", 6, 150, seed=0)
    assert found.keys() == set(rarest_class.METRICS)
    for with_all, with_rarest in found.values():
        assert with_rarest <= with_all
    assert np.mean([one[1] for one in found.values()]) < 0.08 < found["mcc"][0]
