"""Tests for backends that anybody may write.

:func:`check_backend` holds every operation and engine that a backend declares to the
contract of :mod:`mlmethods.interfaces`; from a shell the same checks are
``pytest --pyargs mlmethods.testing --backend=NAME``. :class:`LoopbackBackend` passes
calls on to another backend and records them. Nothing here imports jax.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "Call": "mlmethods.testing.loopback",
        "ConformanceReport": "mlmethods.testing.conformance",
        "LoopbackBackend": "mlmethods.testing.loopback",
        "assert_close": "mlmethods.testing.tolerances",
        "check_backend": "mlmethods.testing.conformance",
        "relative_tolerance": "mlmethods.testing.tolerances",
    },
)
