"""What every command shares: common options, streams, errors and exit codes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any

import typer

from mlmethods.cli.environment import prepare
from mlmethods.cli.exits import Exit, exit_of
from mlmethods.cli.output import tell

__all__ = ["Options", "command"]

_PANEL = "Common options"


def _option(*names: str, help: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, **settings)


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"
    TPU = "tpu"


class DType(StrEnum):
    """Precision to compute in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The common options of one call, as the annotations below declare them."""

    backend: Annotated[
        str, _option("--backend", help="Name of an installed backend, or auto.")
    ] = "auto"
    device: Annotated[Device, _option("--device", help="Where to compute.")] = (
        Device.AUTO
    )
    dtype: Annotated[DType, _option("--dtype", help="Precision to compute in.")] = (
        DType.AUTO
    )
    seed: Annotated[
        int, _option("--seed", help="Seed of every random choice.", min=0)
    ] = 0
    threads: Annotated[
        int | None, _option("--threads", help="Threads to compute with.", min=1)
    ] = None
    json: Annotated[bool, _option("--json", help="Write the result as JSON.")] = False
    quiet: Annotated[
        bool, _option("--quiet", "-q", help="No progress and no notes.")
    ] = False
    verbose: Annotated[
        int,
        _option(
            "--verbose",
            "-v",
            help="More notes; tracebacks of errors. Twice for still more.",
            count=True,
            show_default=False,
        ),
    ] = 0

    def resolve_backend(self) -> Any:
        """Return the backend, having checked that it reaches the device.

        Raises
        ------
        BackendLoadError
            If the backend or the device is not usable here.
        """
        from mlmethods.backend import get_backend
        from mlmethods.common.machine import backend_devices
        from mlmethods.errors import BackendLoadError

        backend = get_backend(self.backend)
        try:
            name = backend_devices(backend)[0]
        except Exception as error:
            # What a driver that does not start raises is the accelerator's own affair.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise BackendLoadError(
                f"backend {backend.info.name!r} does not start with --device "
                f"{self.device.value}: {reason}"
            ) from error
        if self.device is not Device.AUTO and not name.startswith(self.device.value):
            raise BackendLoadError(
                f"backend {backend.info.name!r} computes on {name} here, not on "
                f"{self.device.value}"
            )
        return backend


_OUTPUT_OPTIONS = ("json", "quiet", "verbose")


def command(
    app: typer.Typer, name: str | None = None, *, computes: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function, whose first parameter is an :class:`Options`.

    Parameters
    ----------
    app : typer.Typer
        Where.
    name : str or None
        The name of the command; None is the function's.
    computes : bool
        Whether it also gets the options that say where and how to compute.
    """
    names = [f.name for f in fields(Options) if computes or f.name in _OUTPUT_OPTIONS]

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        hints = typing.get_type_hints(function, include_extras=True)
        common = typing.get_type_hints(Options, include_extras=True)

        @functools.wraps(function)
        def wrapper(**arguments: Any) -> None:
            options = Options(**{key: arguments.pop(key) for key in names})
            with _streams(options), _exit_codes(options):
                prepare(threads=options.threads, device=options.device.value)
                function(options, **arguments)

        parameters = [
            parameter.replace(annotation=hints[parameter.name]) for parameter in own
        ] + [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(Options, key),
                annotation=common[key],
            )
            for key in names
        ]
        wrapper.__dict__["__signature__"] = inspect.Signature(parameters)
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        del wrapper.__dict__["__wrapped__"]
        app.command(name)(wrapper)
        return function

    return register


@contextlib.contextmanager
def _streams(options: Options) -> Iterator[None]:
    """Send log records and warnings to standard error, without source lines."""
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    level = logging.ERROR if options.quiet else levels[min(options.verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger = logging.getLogger("mlmethods")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if not options.quiet:
            tell(f"warning: {message}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


@contextlib.contextmanager
def _exit_codes(options: Options) -> Iterator[None]:
    """End with one sentence and an exit code in place of a traceback."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the pipe has left, as `head` does; typer ends quietly.
        raise
    except (Exception, KeyboardInterrupt) as error:
        code = exit_of(error)
        if code is None:
            raise
        if options.verbose:
            traceback.print_exc()
        tell("interrupted" if code is Exit.INTERRUPTED else _sentence(error))
        raise typer.Exit(code) from None


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        return f"{text}; install the package that provides it"
    return text
