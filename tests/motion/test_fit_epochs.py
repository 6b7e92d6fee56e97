"""The epochs of a training: what is kept, stopped, written and resumed."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mlmethods.errors import CheckpointError, InvalidInputError, MLMethodsWarning
from mlmethods.motion._fit import CheckpointFolder, Progress, run_epochs
from mlmethods.motion.callbacks import CSVLogger, EarlyStopping

RATES = [0.9, 0.5, 0.7, 0.4, 0.6, 0.8, 0.45]
SETTINGS = {"class": "Counter", "windows": 3}


class CountingTrainer:
    """A trainer whose one parameter is the number of its epochs."""

    def __init__(self, interrupt_at=None):
        self.steps = 0
        self._interrupt_at = interrupt_at

    def epoch(self, callback=None):
        if self.steps == self._interrupt_at:
            raise KeyboardInterrupt
        self.steps += 1
        return {"loss": 1 / self.steps}

    def params(self):
        return {"w": np.full(2, self.steps, np.float32)}

    def arrays(self):
        return {"state/w": np.full(2, self.steps, np.float32)}

    def restore(self, arrays):
        self.steps = int(arrays["state/w"][0])


def validate(params):
    return {"val_aer": RATES[int(params["w"][0]) - 1]}


def run(trainer=None, progress=None, **options):
    progress = Progress({}) if progress is None else progress
    options = {"epochs": 7, "validate": validate} | options
    run_epochs(trainer or CountingTrainer(), progress, **options)
    return progress


def test_the_best_epoch_is_kept():
    progress = run()
    assert (progress.best_epoch, progress.best_value) == (4, 0.4)
    assert progress.params["w"].tolist() == [4, 4]
    assert [row["val_aer"] for row in progress.history] == RATES


def test_without_validation_the_last_epoch_is_kept():
    progress = run(validate=None, epochs=3)
    assert (progress.best_epoch, progress.params["w"][0]) == (3, 3)


def test_patience_stops_and_needs_validation():
    assert run(patience=1).epoch == 3
    assert run(patience=2).epoch == 6
    with pytest.raises(InvalidInputError, match="patience needs val"):
        run(patience=2, validate=None)


def test_events_tell_every_epoch():
    events = []
    run(epochs=2, callbacks=[events.append])
    assert [event.kind for event in events] == ["start", "step", "step", "end"]
    assert [event.step for event in events] == [0, 1, 2, 2]
    assert events[2].metrics == {"epoch": 2, "loss": 0.5, "val_aer": 0.5}
    assert events[-1].message == "finished 2 epochs"


def test_a_callback_can_stop():
    stop = EarlyStopping(patience=1)
    assert run(callbacks=[stop]).epoch == 3
    # the next training begins anew
    assert run(callbacks=[stop]).epoch == 3
    up = EarlyStopping("loss", patience=2, mode="max")
    assert run(callbacks=[up]).epoch == 3


def test_the_log_has_one_line_an_epoch(tmp_path):
    path = tmp_path / "deep" / "log.csv"
    log = CSVLogger(path)
    for _ in range(2):
        run(epochs=3, callbacks=[log])
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_aer"]) for row in rows] == RATES[:3]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_an_interruption_keeps_the_best():
    progress = Progress({})
    with pytest.raises(KeyboardInterrupt):
        run(CountingTrainer(interrupt_at=3), progress)
    assert (progress.epoch, progress.best_epoch) == (3, 2)
    assert progress.params["w"][0] == 2


def test_a_resumed_run_has_the_same_history(tmp_path):
    folder = CheckpointFolder(tmp_path, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        run(CountingTrainer(interrupt_at=5), folder=folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-00004", "epoch-00005"]
    trainer = CountingTrainer()
    progress = CheckpointFolder(tmp_path, SETTINGS).read(trainer)
    assert (trainer.steps, progress.epoch) == (5, 5)
    run(trainer, progress)
    whole = run()
    assert progress.history == whole.history
    assert progress.best_epoch == whole.best_epoch
    assert_array_equal(progress.params["w"], whole.params["w"])


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path):
    run(folder=CheckpointFolder(tmp_path, SETTINGS))
    path = tmp_path / "epoch-00007" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    trainer = CountingTrainer()
    with pytest.warns(MLMethodsWarning, match="epoch 7 is damaged"):
        progress = CheckpointFolder(tmp_path, SETTINGS).read(trainer)
    assert (progress.epoch, trainer.steps) == (6, 6)


def test_a_state_of_another_training_is_refused(tmp_path):
    run(folder=CheckpointFolder(tmp_path, SETTINGS))
    other = CheckpointFolder(tmp_path, {**SETTINGS, "windows": 4})
    with pytest.raises(CheckpointError, match="windows is 3 there and 4 here"):
        other.read(CountingTrainer())
    with pytest.raises(CheckpointError, match="it holds no state"):
        CheckpointFolder(tmp_path / "none", SETTINGS).read(CountingTrainer())
