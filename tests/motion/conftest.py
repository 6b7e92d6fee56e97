"""Models without training, whose answers can be worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from mlmethods.motion import Channel, Recording, Segments
from mlmethods.motion._recordings import as_recordings
from mlmethods.motion.contract import DecodeResult
from mlmethods.motion.windows import WindowSpec

CLASSES = ("idle", "reach", "transport")
FS = 50.0
STEP = 8


class OneHotRecognizer:
    """A sequence model whose features are its classes; 0 means "as before"."""

    classes_ = CLASSES
    feature_names_ = ("a", "b", "c")
    fs_ = FS

    def __init__(self, window=None, normalizer=None, strength=6.0):
        self.window = window or WindowSpec()
        self.normalizer_ = normalizer
        self.strength = strength

    def get_params(self, deep=True):
        return {"strength": self.strength, "window": self.window}

    def prepare(self, X):
        X = as_recordings(X)
        return list(X) if self.normalizer_ is None else self.normalizer_.transform(X)

    def _steps(self, x, length, previous):
        """Return the class of each step, and which steps are in the core."""
        context = self.window.frames(FS).context
        steps = x[::STEP]
        label = steps.argmax(axis=1)
        label[~(steps > 0.1).any(axis=1)] = max(int(previous) - 1, 0)
        place = np.arange(len(steps)) * STEP
        core = (place >= context) & (place < length - context)
        if not core.any():
            # A core between two steps: the one before it speaks for it.
            core[context // STEP] = True
        return label, core

    def decode_windows(self, x, mask, previous):
        assert x.dtype == np.float32
        assert mask.shape == x.shape[:2]
        n, width, count = len(x), -(-x.shape[1] // STEP), len(CLASSES)
        ids = np.zeros((n, 35), np.int32)
        log_probs = np.zeros((n, 35), np.float32)
        logits = np.zeros((n, width, count), np.float32)
        for row in range(n):
            length = int(mask[row].sum())
            label, core = self._steps(x[row], length, previous[row])
            logits[row] = self.strength * np.eye(count)[label]
            inside = label[core]
            kept = inside[np.flatnonzero(np.diff(inside, prepend=-1))]
            ids[row, : len(kept)] = kept + 1
            log_probs[row, : len(kept)] = np.log(0.9 - 0.1 * kept)
        truncated = np.zeros(n, bool)
        return DecodeResult(ids, log_probs, truncated, logits)

    def attention_windows(self, x, mask, previous, ids):
        attention = np.zeros((len(x), ids.shape[1], -(-x.shape[1] // STEP)))
        for row in range(len(x)):
            label, core = self._steps(x[row], int(mask[row].sum()), previous[row])
            place = np.flatnonzero(core)
            inside = label[place]
            run = np.cumsum(np.diff(inside, prepend=inside[:1]) != 0)
            attention[row, run, place] = 1.0
        return attention


class FramewiseModel:
    """A framewise model: its features are logits."""

    classes_ = CLASSES
    feature_names_ = ("a", "b", "c")
    fs_ = FS
    window = WindowSpec()
    normalizer_ = None

    def predict_logits(self, x, mask=None):
        return np.asarray(x, np.float32)[None] * 4

    def predict_proba(self, X):
        exponents = [np.exp(4 * r.data.astype(np.float64)) for r in X]
        return [e / e.sum(axis=1, keepdims=True) for e in exponents]

    def predict(self, X):
        found = [p.argmax(axis=1) for p in self.predict_proba(X)]
        return [Segments.from_frames(y, FS, CLASSES) for y in found]


def make_recording(labels, *, noise=0.0, seed=0, shown=None, labeled=True, **fields):
    """Return a recording whose features are its labels, one-hot."""
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    data = np.eye(3)[labels] + noise * rng.normal(size=(len(labels), 3))
    if shown is not None:
        data[~shown] = 0.0
    channels = [Channel(name, "feature", "1") for name in "abc"]
    spans = Segments.from_frames(labels, FS, CLASSES) if labeled else None
    fields.setdefault("subject", "s1")
    return Recording(data, FS, channels, labels=spans, **fields)


def random_labels(n_frames, seed, shortest=16, longest=90):
    """Return frame labels of runs with different neighbors."""
    rng = np.random.default_rng(seed)
    labels, last = [], -1
    while sum(map(len, labels)) < n_frames:
        last = int(rng.choice([c for c in range(3) if c != last]))
        labels.append(np.full(rng.integers(shortest, longest), last))
    return np.concatenate(labels)[:n_frames]


@pytest.fixture(scope="session")
def tools():
    """Models and recordings for the tests of the pipeline."""
    return SimpleNamespace(
        OneHotRecognizer=OneHotRecognizer,
        FramewiseModel=FramewiseModel,
        recording=make_recording,
        labels=random_labels,
        classes=CLASSES,
        fs=FS,
    )
