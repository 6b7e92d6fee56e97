"""Checks of the engines that backends declare, by the method's name.

A method adds its own with ``@check("engine:<method>")``; the first check below runs
for every engine.
"""

from __future__ import annotations

from mlmethods.errors import OperationNotSupportedError
from mlmethods.testing.trials import Check, Trial, require

__all__ = ["EVERY_ENGINE"]


def loads_and_refuses_other_names(trial: Trial) -> None:
    """Require that a declared engine loads and that no other name does."""
    method = trial.name.removeprefix("engine:")
    engine = trial.backend.engine(method)
    require(engine is not None, f"engine({method!r}) is None")
    try:
        trial.backend.engine("no_such_method")
    except OperationNotSupportedError:
        return
    raise AssertionError(
        "engine('no_such_method') must raise OperationNotSupportedError"
    )


EVERY_ENGINE = Check(loads_and_refuses_other_names, ())
