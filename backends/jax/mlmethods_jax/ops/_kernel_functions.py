"""What each kernel is, as functions of distances or inner products.

Radial kernels depend on r^2 alone and have gradients ``-w(r) M (x - z)``.
Coordinatewise kernels depend on the differences of ``M^{1/2} x`` and ``M^{1/2} z``
one coordinate at a time. Inner-product kernels depend on ``x^T M z``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import KernelSpec

__all__ = [
    "COORDINATEWISE",
    "INNER_PRODUCT",
    "RADIAL",
    "family",
    "inner_product_derivative",
    "inner_product_value",
    "radial_value",
    "radial_weight",
    "safe_power",
    "safe_root",
]

RADIAL = frozenset({"laplace", "gaussian", "exp_power", "matern"})
COORDINATEWISE = frozenset({"lpq", "sum_power"})
INNER_PRODUCT = frozenset({"quadratic", "inner_product"})


def family(kernel: KernelSpec) -> str:
    """Return "radial", "coordinatewise" or "inner_product".

    Raises
    ------
    OperationNotSupportedError
        If this backend does not know the kernel.
    """
    if kernel.name == "matern" and kernel.option("nu") not in (0.5, 1.5, 2.5):
        raise OperationNotSupportedError(
            f"kernel 'matern' with nu={kernel.option('nu')} needs Bessel functions, "
            "which the JAX backend lacks; use nu 0.5, 1.5 or 2.5, or the NumPy backend"
        )
    for name, members in (
        ("radial", RADIAL),
        ("coordinatewise", COORDINATEWISE),
        ("inner_product", INNER_PRODUCT),
    ):
        if kernel.name in members:
            return name
    known = ", ".join(sorted(RADIAL | COORDINATEWISE | INNER_PRODUCT))
    raise OperationNotSupportedError(
        f"the JAX backend has no kernel {kernel.name!r}; it has: {known}"
    )


def safe_power(x: jax.Array, exponent: jax.Array | float) -> jax.Array:
    """Return ``x ** exponent`` for x >= 0, with 0 (value and gradient) at x = 0."""
    # Tested for zero, not for positive: NaN must come through.
    zero = x <= 0
    # XLA vectorizes exp and log on a CPU, and calls libm for each power.
    return jnp.where(zero, 0.0, jnp.exp(exponent * jnp.log(jnp.where(zero, 1.0, x))))


def safe_root(x: jax.Array) -> jax.Array:
    """Return the root of x >= 0, with 0 (value and gradient) at x = 0."""
    zero = x <= 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x)))


class _Radial(NamedTuple):
    """k and w as functions of r^2 and of the specification; ``r`` where needed."""

    value: Callable[[jax.Array, KernelSpec], jax.Array]
    weight: Callable[[jax.Array, KernelSpec], jax.Array]


def _gaussian(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    return jnp.exp(-r2 / (2.0 * kernel.bandwidth**2))


def _gaussian_weight(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    return _gaussian(r2, kernel) / kernel.bandwidth**2


def _laplace(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    return jnp.exp(-safe_root(r2) / kernel.bandwidth)


def _laplace_weight(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    r = safe_root(r2)
    singular = r <= 0
    k = jnp.exp(-r / kernel.bandwidth)
    return jnp.where(
        singular, 0.0, k / (kernel.bandwidth * jnp.where(singular, 1.0, r))
    )


def _exp_power(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    return jnp.exp(-safe_power(r2 / kernel.bandwidth**2, kernel.params["q"] / 2.0))


def _exp_power_weight(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    q = kernel.params["q"]
    return (
        (q / kernel.bandwidth**q)
        * safe_power(r2, q / 2.0 - 1.0)
        * _exp_power(r2, kernel)
    )


def _matern32(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    s = safe_root(r2) * (3.0**0.5 / kernel.bandwidth)
    return (1.0 + s) * jnp.exp(-s)


def _matern32_weight(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    a = 3.0**0.5 / kernel.bandwidth
    return a**2 * jnp.exp(-a * safe_root(r2))


def _matern52(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    s = safe_root(r2) * (5.0**0.5 / kernel.bandwidth)
    return (1.0 + s + s**2 / 3.0) * jnp.exp(-s)


def _matern52_weight(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    a = 5.0**0.5 / kernel.bandwidth
    s = a * safe_root(r2)
    return (a**2 / 3.0) * (1.0 + s) * jnp.exp(-s)


_RADIAL = {
    ("gaussian", None): _Radial(_gaussian, _gaussian_weight),
    ("laplace", None): _Radial(_laplace, _laplace_weight),
    ("exp_power", None): _Radial(_exp_power, _exp_power_weight),
    ("matern", 0.5): _Radial(_laplace, _laplace_weight),
    ("matern", 1.5): _Radial(_matern32, _matern32_weight),
    ("matern", 2.5): _Radial(_matern52, _matern52_weight),
}


def _radial(kernel: KernelSpec) -> _Radial:
    nu = kernel.option("nu") if kernel.name == "matern" else None
    return _RADIAL[kernel.name, nu]


def radial_value(kernel: KernelSpec, r2: jax.Array) -> jax.Array:
    """Return k at squared distances `r2`."""
    return _radial(kernel).value(r2, kernel)


def radial_weight(kernel: KernelSpec, r2: jax.Array) -> jax.Array:
    """Return w at squared distances `r2`; ``grad_x k = -w M (x - z)``."""
    return _radial(kernel).weight(r2, kernel)


def inner_product_value(kernel: KernelSpec, t: jax.Array) -> jax.Array:
    """Return h at inner products `t`."""
    return t**2 if kernel.name == "quadratic" else kernel.option("h")(t)


def inner_product_derivative(kernel: KernelSpec, t: jax.Array) -> jax.Array:
    """Return h' at inner products `t`."""
    return 2.0 * t if kernel.name == "quadratic" else kernel.option("dh")(t)
