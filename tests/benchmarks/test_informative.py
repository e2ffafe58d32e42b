"""The arithmetic of the benchmark: the bias of a draw is seen, and weights take it away."""

import numpy as np
import pytest

from tests.benchmarks.informative_population import bias, figures


def test_weights_take_the_bias_away() -> None:
    dice = np.random.default_rng(0)
    values = dice.random((400, 6))
    prompts = [(row, np.ones(6), row**2) for row in values]  # what is large is chosen
    found = bias(prompts, 2, 0.2, seed=1)
    assert found.truth == pytest.approx(values.mean())
    assert found.chosen[0] - found.truth > 0.1
    assert found.weighed[0] == pytest.approx(found.truth, abs=0.01)
    assert found.chance[0] == pytest.approx(found.truth, abs=0.01)


def test_figures_of_a_prompt_can_be_counted_by_hand() -> None:
    margins = np.array([[1.0, 2.0, -1.0], [1.0, -2.0, -1.0], [1.0, -2.0, 3.0], [1.0, 2.0, -3.0]])
    found = figures(margins, ["terse", "coach", "coach"], ["coach", "terse", "coach"], "terse")
    assert found["disagreement of two people"][0] == pytest.approx([0, 8 / 12, 6 / 12])
    assert found["contested by 30 %"][0] == pytest.approx([0, 1, 0])
    assert found["mean size of a margin"][0] == pytest.approx([1, 2, 2])
    assert found["terse wins"][0] == pytest.approx([1, 0.5, 0])
    assert found["terse wins"][1] == pytest.approx([1, 1, 0])
