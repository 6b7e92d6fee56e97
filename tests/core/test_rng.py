from __future__ import annotations

import numpy as np
import pytest

from mlmethods.common.rng import generator, seed_sequence
from mlmethods.errors import InvalidInputError


def test_a_generator_is_passed_through_and_a_seed_makes_one() -> None:
    mine = np.random.default_rng(1)
    assert generator(mine) is mine
    expected = np.random.default_rng(7).random(3)
    for seed in (7, np.int64(7), np.random.SeedSequence(7)):
        np.testing.assert_array_equal(generator(seed).random(3), expected)


def test_integers_repeat_and_generators_advance() -> None:
    assert seed_sequence(3).generate_state(2).tolist() == (
        np.random.SeedSequence(3).generate_state(2).tolist()
    )
    for state in (np.random.RandomState(0), np.random.default_rng(0)):
        assert seed_sequence(state).entropy != seed_sequence(state).entropy
    first = seed_sequence(np.random.RandomState(5)).entropy
    assert first == seed_sequence(np.random.RandomState(5)).entropy
    assert seed_sequence(None).entropy != seed_sequence(None).entropy


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for seed in (None, 1):
        seed_sequence(seed)
        generator(seed).random()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("value", [-1, 1.5, True, "seed", [1]])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="rng must be"):
        generator(value)
    with pytest.raises(InvalidInputError, match="random_state must be"):
        seed_sequence(value)
