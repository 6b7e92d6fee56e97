"""A run of private training in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmethods.common.checkpoint import read_store, write_store
from mlmethods.common.machine import versions
from mlmethods.errors import AccountantMismatchError, CheckpointError
from mlmethods.interfaces import NDArray

__all__ = ["Stored", "read_run", "write_run"]

_CLASS = "DPTrainer"
PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is kept of a run.

    Attributes
    ----------
    state : dict of str to ndarray
        Parameters, optimizer, step and the mechanism's state, by name.
    history : dict of str to ndarray
        Metrics of every step.
    key : ndarray
        Words of the root key.
    settings : dict
        What the trainer was made with; a run goes on with the same only.
    sample : dict
        ``shape`` and ``dtype`` of one input.
    steps : int
        Steps taken.
    accountant : dict
        State of the account.
    """

    state: Mapping[str, NDArray]
    history: Mapping[str, NDArray]
    key: NDArray
    settings: Mapping[str, Any]
    sample: Mapping[str, Any]
    steps: int
    accountant: Mapping[str, Any]


def write_run(directory: PathLike, stored: Stored) -> None:
    """Write a run, atomically; a folder of an earlier one is replaced as a whole."""
    arrays = {f"state/{name}": array for name, array in stored.state.items()}
    arrays |= {f"history/{name}": array for name, array in stored.history.items()}
    write_store(
        directory,
        arrays={**arrays, "key": stored.key},
        config={
            "class": _CLASS,
            "settings": dict(stored.settings),
            "sample": dict(stored.sample),
            "steps": stored.steps,
            "accountant": dict(stored.accountant),
            "versions": versions(),
        },
    )


def read_run(directory: PathLike, settings: Mapping[str, Any]) -> Stored:
    """Read a run that was made with `settings`.

    Raises
    ------
    CheckpointError
        If the folder is damaged, holds something else, or a run with other settings.
    AccountantMismatchError
        If the run had another mechanism.
    """
    arrays, config = read_store(directory)
    if config.get("class") != _CLASS:
        raise CheckpointError(f"{directory} does not hold a run of private training")
    try:
        known, steps = config["settings"], int(config["steps"])
        sample, accountant = config["sample"], config["accountant"]
        key = arrays.pop("key")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{directory} is damaged: {error!r} is missing"
        ) from error
    if known.get("mechanism") != settings["mechanism"]:
        raise AccountantMismatchError(
            f"{directory} was trained with {known.get('mechanism')}, this trainer has "
            f"{settings['mechanism']}; an account goes on with its own mechanism only"
        )
    for name, value in settings.items():
        if known.get(name) != value:
            raise CheckpointError(
                f"{directory} was trained with {name}={known.get(name)!r}, this trainer "
                f"has {value!r}"
            )
    return Stored(
        state=_under("state/", arrays),
        history=_under("history/", arrays),
        key=np.asarray(key),
        settings=known,
        sample=sample,
        steps=steps,
        accountant=accountant,
    )


def _under(prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
