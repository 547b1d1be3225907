"""The boundary drawn is the boundary: |R| = 1 on it, and it meets the real axis at the stated limit."""

import numpy as np
import pytest

from dnatune.optimizers import real_stability_limit, stability_polynomial
from stability_figure import SHOWN, boundary, stability_figure


@pytest.mark.parametrize(("method", "hyperparameters"), SHOWN.values())
def test_boundary(method, hyperparameters):
    points = boundary(method, **hyperparameters)
    assert abs(stability_polynomial(method, points, **hyperparameters)) == pytest.approx(1, abs=1e-8)
    on_axis = points[abs(points.imag) < 1e-6].real
    assert on_axis.min() == pytest.approx(-real_stability_limit(method, **hyperparameters), abs=1e-6)


def test_classical_values():
    # Hairer and Wanner 1996, IV.2: the classical method reaches -2.785 on the real and 2.828 on the imaginary axis.
    points = boundary("rk4")
    assert points.real.min() == pytest.approx(-2.785, abs=1e-3)
    near_axis = points[abs(points.real) < 2e-2]
    assert np.abs(near_axis.imag).max() == pytest.approx(2 * np.sqrt(2), abs=2e-2)


def test_figure_is_svg_without_a_network():
    text = stability_figure()
    assert text.startswith("<svg") and "http" not in text.replace("http://www.w3.org/", "")
