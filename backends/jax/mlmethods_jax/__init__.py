"""The JAX backend, and its pure functions for use in your own JAX code.

Importing this package does not import jax; touching its first name does.
"""

from mlmethods_jax._backend import JaxBackend, backend

__all__ = ["JaxBackend", "backend"]
