"""Private training of a motion network, by the trainer of any network."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlmethods.motion.datasets import make_watch_sessions
from mlmethods.motion.preprocess import ZNormalizer
from mlmethods.motion.windows import WindowSpec, cut
from mlmethods.privacy import GaussianMechanism, make_private
from mlmethods_jax.motion import CNNModule

WINDOW = WindowSpec(size=2.0, hop=2.0, context=0.0)
CLASSES = 7


@functools.cache
def windows(first, last):
    """Return windows of 2 s of some of the sessions, and a class for each frame."""
    sessions = list(make_watch_sessions(seed=0, sessions=1))[first:last]
    parts = [cut(item, WINDOW) for item in ZNormalizer().transform(sessions)]
    full = [part.mask.all(axis=1) for part in parts]
    return (
        np.concatenate([p.x[kept] for p, kept in zip(parts, full, strict=True)]),
        np.concatenate(
            [p.frame_labels[kept] for p, kept in zip(parts, full, strict=True)]
        ),
    )


def frame_loss(outputs, labels):
    """Return the mean cross-entropy of the frames of each window."""
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
    return jnp.mean(losses, axis=1)


@pytest.mark.slow
def test_frames_of_watch_sessions_are_learned_privately():
    x, labels = windows(0, 14)
    held_x, held_labels = windows(14, 20)
    batch = 32
    trainer = make_private(
        functools.partial(CNNModule, 6, CLASSES, layers=2, maps=8, width=9),
        optax.adam(1e-2),
        GaussianMechanism(1.0),
        loss=frame_loss,
        data_size=len(x),
        batch_size=batch,
    )
    trainer.fit((x, labels), epochs=12, key=0)
    assert np.isfinite(trainer.history_["loss"]).all()
    found = np.asarray(trainer.outputs(held_x)).argmax(axis=-1)
    chance = np.bincount(held_labels.ravel()).max() / held_labels.size
    assert (found == held_labels).mean() > chance + 0.1
    assert trainer.accountant.epsilon(1e-3) < 6
