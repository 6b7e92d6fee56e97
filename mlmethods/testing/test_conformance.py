"""The conformance suite as tests, one for each name that a backend is checked for."""

from mlmethods.interfaces import Backend
from mlmethods.testing.conformance import check_backend


def test_backend_keeps_the_contract(
    conformance_backend: Backend, conformance_name: str
) -> None:
    """Check one operation, engine or edge of the backend."""
    known = getattr(conformance_backend, "expected_failures", {})
    check_backend(
        conformance_backend,
        ops=[conformance_name],
        expected_failures={k: v for k, v in known.items() if k == conformance_name},
    )
