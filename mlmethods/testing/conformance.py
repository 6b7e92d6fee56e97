"""The conformance suite: whether a backend keeps the contract of what it declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlmethods.backend import get_backend
from mlmethods.errors import ConformanceError, InvalidInputError
from mlmethods.interfaces import (
    OPS,
    Backend,
    KernelOps,
    LinalgOps,
    NeuralOps,
    PrivacyOps,
)
from mlmethods.testing import (  # noqa: F401
    kernel_checks,
    linalg_checks,
    neural_checks,
    privacy_checks,
)
from mlmethods.testing.edge_checks import EDGES
from mlmethods.testing.engines import EVERY_ENGINE
from mlmethods.testing.trials import CHECKS, Trial, expand, get_operation

__all__ = ["ConformanceReport", "check_backend", "conformance_names"]

_PROTOCOLS = {
    "kernels": KernelOps,
    "linalg": LinalgOps,
    "privacy": PrivacyOps,
    "nn": NeuralOps,
}
# Sampling comes with the form that reports statuses.
_COMPANIONS = {"privacy.vmf_sample": ("privacy.vmf_sample_with_status",)}


@dataclass(frozen=True, kw_only=True)
class ConformanceReport:
    """What a backend was checked for and how it did.

    Attributes
    ----------
    backend : str
        Name of the backend.
    passed : tuple of str
        Operations, engines and edges of which every check passed.
    failures : dict of str to tuple of str
        One sentence for each failed check, by operation.
    expected : dict of str to str
        Operations that failed as was expected, and the reason given for it.
    declined : dict of str to str
        Operations and kernels that were not checked together, and what ``can_run``
        said to them.
    """

    backend: str
    passed: tuple[str, ...] = ()
    failures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing failed that was not expected to."""
        return not self.failures

    def __str__(self) -> str:
        lines = [f"backend {self.backend!r}: {len(self.passed)} passed"]
        lines += [f"  passed    {name}" for name in self.passed]
        lines += [f"  expected  {name}: {why}" for name, why in self.expected.items()]
        for name, messages in self.failures.items():
            lines += [f"  FAILED    {name}: {message}" for message in messages]
        lines += [f"  declined  {name}: {why}" for name, why in self.declined.items()]
        return "\n".join(lines)


def conformance_names(backend: Backend) -> list[str]:
    """Return the names of everything that `backend` is checked for.

    Examples
    --------
    >>> import mlmethods
    >>> conformance_names(mlmethods.get_backend("numpy"))[:2]
    ['backend.info', 'backend.refusals']
    """
    declared = [op for op in OPS if op in backend.info.ops]
    engines = [f"engine:{method}" for method in sorted(backend.info.engines)]
    return [*EDGES, *declared, *engines]


def check_backend(
    backend: str | Backend,
    *,
    expected_failures: Mapping[str, str] | None = None,
    ops: Iterable[str] | None = None,
    dtypes: Iterable[str] | None = None,
) -> ConformanceReport:
    """Hold a backend to the contract of everything that it declares.

    Every declared operation is called in every declared dtype and compared with the
    NumPy backend and with closed forms: values, shapes, dtypes, edge values, use of
    keys, reporting by status, and the exact signature. What is not declared must be
    refused by ``can_run`` with a reason.

    Parameters
    ----------
    backend : str or Backend
        A name or an object.
    expected_failures : mapping of str to str, optional
        Known failures, from operation to reason, such as
        ``{"kernels.agop": "no weights yet"}``; by default the attribute
        ``expected_failures`` of the backend where it has one. An entry that does not
        fail is itself a failure.
    ops : iterable of str, optional
        Check these only; names as :func:`conformance_names` lists them.
    dtypes : iterable of str, optional
        Check in these only; by default in every dtype that the backend declares.

    Returns
    -------
    ConformanceReport

    Raises
    ------
    ConformanceError
        If anything fails that was not expected to; the message names each operation
        and each failed check.
    InvalidInputError
        If `ops` or `expected_failures` has a name that is not checked, or `dtypes`
        one that the backend does not declare.

    Examples
    --------
    >>> from mlmethods.testing import check_backend
    >>> check_backend("numpy", ops=["linalg.eigh"]).passed
    ('linalg.eigh',)
    """
    backend = get_backend(backend)
    known = conformance_names(backend)
    names = known if ops is None else list(ops)
    if expected_failures is None:
        expected_failures = getattr(backend, "expected_failures", {})
    for argument, given in (("ops", names), ("expected_failures", expected_failures)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise InvalidInputError(
                f"{argument} must name what backend {backend.info.name!r} is checked "
                f"for ({', '.join(known)}), got {', '.join(unknown)}"
            )
    declared = sorted(backend.info.dtypes)
    chosen = declared if dtypes is None else sorted(dtypes)
    if not set(chosen) <= set(declared) or not chosen:
        raise InvalidInputError(
            f"dtypes must be among {', '.join(declared)}, which backend "
            f"{backend.info.name!r} declares, got {', '.join(chosen) or 'none'}"
        )
    passed: list[str] = []
    failures: dict[str, tuple[str, ...]] = {}
    expected: dict[str, str] = {}
    declined: dict[str, str] = {}
    for name in names:
        messages = tuple(_failures(backend, name, chosen, declined))
        reason = expected_failures.get(name)
        if messages and reason is not None:
            expected[name] = reason
        elif messages:
            failures[name] = messages
        elif reason is not None:
            failures[name] = (f"passes, though it is expected to fail: {reason}",)
        else:
            passed.append(name)
    report = ConformanceReport(
        backend=backend.info.name,
        passed=tuple(passed),
        failures=failures,
        expected=expected,
        declined=declined,
    )
    if not report.ok:
        raise ConformanceError(
            f"backend {backend.info.name!r} fails {', '.join(failures)}\n{report}"
        )
    return report


def _failures(
    backend: Backend, name: str, dtypes: list[str], declined: dict[str, str]
) -> Iterator[str]:
    """Yield one sentence for each failed check of `name`."""
    oracle = get_backend("numpy")
    for op in (name, *_COMPANIONS.get(name, ())):
        if op.split(".")[0] in _PROTOCOLS:
            missing = _error(get_operation, (backend, op))
            if missing:
                yield f"{op} cannot be loaded: {missing}"
                return
            yield from _signature_failures(backend, op)
    checks = [*CHECKS[name]]
    if name.startswith("engine:"):
        checks.insert(0, EVERY_ENGINE)
    for dtype in dtypes[:1] if name == "backend.info" else dtypes:
        trial = Trial(backend, oracle, name, dtype)
        for one in checks:
            for label, arguments in expand(trial, one):
                if isinstance(arguments, str):
                    declined[f"{name} with {label}"] = arguments
                    continue
                message = _error(one.function, arguments)
                if message:
                    yield f"{label} [{dtype}]: {message}"


def _error(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str | None:
    try:
        function(*arguments)
    except AssertionError as error:
        return str(error)
    except Exception as error:  # whatever a plug-in raises is its failure, not ours
        return f"{type(error).__name__}: {error}"
    return None


def _signature_failures(backend: Backend, op: str) -> Iterator[str]:
    """Compare an operation's signature with that of the contract."""
    family, operation = op.split(".")
    contract = inspect.signature(getattr(_PROTOCOLS[family], operation))
    wanted = [p for p in contract.parameters.values() if p.name != "self"]
    given = inspect.signature(get_operation(backend, op)).parameters
    for parameter in given.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield f"signature: {op} takes {parameter}; name each argument"
    positions = list(given)
    for position, parameter in enumerate(wanted):
        name, mine = parameter.name, given.get(parameter.name)
        if mine is None:
            yield f"signature: {op} lacks the argument {name!r}"
        elif mine.default != parameter.default:
            yield (
                f"signature: the default of {name!r} in {op} is {_default(mine)}, the "
                f"contract has {_default(parameter)}"
            )
        elif parameter.kind is not parameter.KEYWORD_ONLY and (
            mine.kind is not parameter.kind or positions[position] != name
        ):
            yield f"signature: {name!r} must be positional argument {position + 1} of {op}"
        elif mine.kind is mine.POSITIONAL_ONLY:
            yield f"signature: {name!r} of {op} must be accepted as a keyword"
    names = {parameter.name for parameter in wanted}
    for parameter in given.values():
        if parameter.name not in names and parameter.default is parameter.empty:
            yield f"signature: {op} requires {parameter.name!r}, unknown to the contract"


def _default(parameter: inspect.Parameter) -> str:
    return "none" if parameter.default is parameter.empty else repr(parameter.default)
