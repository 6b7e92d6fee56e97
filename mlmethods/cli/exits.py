"""Exit codes, and which error ends with which: the only such table."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Exit", "exit_of"]


class Exit(IntEnum):
    """What a finished command tells the shell."""

    DONE = 0
    NOT_MET = 1
    USAGE = 2
    MISSING = 3
    INTERRUPTED = 130


def exit_of(error: BaseException) -> Exit | None:
    """Return the exit code of an error that a user can act on.

    None means that the error is a defect of the program: its traceback is shown.
    """
    from mlmethods import errors

    missing = (
        errors.BackendLoadError,
        errors.BackendNotFoundError,
        errors.DatasetNotFoundError,
        errors.OperationNotSupportedError,
    )
    invalid = (
        errors.CheckpointError,
        errors.ConfigError,
        errors.DataFormatError,
        errors.InvalidInputError,
        errors.MemoryLimitError,
    )
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, missing):
        return Exit.MISSING
    if isinstance(error, invalid):
        return Exit.USAGE
    if isinstance(error, errors.MLMethodsError):
        return Exit.NOT_MET
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        return None if name.startswith("mlmethods") else Exit.MISSING
    # What scikit-learn and the operating system raise about the user's input.
    return Exit.USAGE if isinstance(error, ValueError | OSError) else None
