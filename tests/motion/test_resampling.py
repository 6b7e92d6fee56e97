"""Changing rates: amplitudes, aliases, and rotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from mlmethods.motion._resampling import resample, slerp


def rotations(count, fs=100.0, seed=0):
    rng = np.random.default_rng(seed)
    turns = np.cumsum(rng.normal(size=(count, 3)), axis=0) * 0.05
    q = Rotation.from_rotvec(turns).as_quat(scalar_first=True)
    q[1:] *= np.cumprod(np.where(np.sum(q[1:] * q[:-1], axis=1) < 0, -1, 1))[:, None]
    return q


@pytest.mark.parametrize(
    ("fs", "fs_out"), [(200.0, 100.0), (148.148, 100.0), (1000.0, 100.0), (50.0, 100.0)]
)
def test_sinusoids_keep_their_amplitude(fs, fs_out):
    nyquist = min(fs, fs_out) / 2
    count = int(20 * fs)
    for share in (0.05, 0.4, 0.79):
        wave = np.sin(2 * np.pi * share * nyquist * np.arange(count) / fs)
        result = resample(wave[:, None].astype(np.float32), fs, fs_out, [], [])[:, 0]
        grid = np.arange(len(result)) / fs_out
        expected = np.sin(2 * np.pi * share * nyquist * grid)
        inner = slice(int(fs_out), -int(fs_out))
        # The ratio is rounded to a fraction, which shifts by less than this.
        assert np.abs(result - expected)[inner].max() < 5e-3


@pytest.mark.parametrize("fs", [200.0, 148.148, 1000.0])
def test_aliases_are_suppressed(fs):
    count = int(20 * fs)
    t = np.arange(count) / fs
    for frequency in np.linspace(51.0, fs / 2 * 0.99, 4):
        wave = np.sin(2 * np.pi * frequency * t)[:, None].astype(np.float32)
        result = resample(wave, fs, 100.0, [], [])[100:-100]
        assert 10 * np.log10(np.mean(result**2) / 0.5) < -60


def test_a_chirp_is_cut_at_the_new_nyquist_frequency():
    fs, seconds = 400.0, 40
    t = np.arange(int(seconds * fs)) / fs
    rate = 100 / seconds
    chirp = np.sin(np.pi * rate * t**2)[:, None].astype(np.float32)
    result = resample(chirp, fs, 100.0, [], [])[:, 0]
    frequency = rate * np.arange(len(result)) / 100
    level = np.sqrt(2 * np.convolve(result**2, np.ones(50) / 50, "same"))
    assert np.abs(level[(frequency > 5) & (frequency < 38)] - 1).max() < 0.06
    assert level[(frequency > 53) & (frequency < 98)].max() < 1e-3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([50.0, 60.0, 100.0, 37.5]))
def test_slerp_is_that_of_scipy(seed, rate):
    times = np.arange(40) / 50
    q = rotations(40, seed=seed)
    wanted = np.arange(0, times[-1], 1 / rate)
    mine = slerp(times, q, wanted)
    np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-12)
    theirs = Slerp(times, Rotation.from_quat(q, scalar_first=True))(wanted)
    difference = Rotation.from_quat(mine, scalar_first=True) * theirs.inv()
    # Angles near zero are known to the square root of the rounding error at best.
    assert difference.magnitude().max() < 1e-6


def test_slerp_of_equal_and_opposite_signs():
    q = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [-1, 0, 0, 0]], float)
    result = slerp(np.arange(3.0), q, np.array([0.5, 1.5, 2.0, 9.0]))
    np.testing.assert_allclose(np.abs(result[:, 0]), 1)
