"""What each kernel is, as functions of distances or inner products.

Radial kernels depend on r^2 alone and have gradients ``-w(r) M (x - z)``.
Coordinatewise kernels depend on the differences of ``M^{1/2} x`` and ``M^{1/2} z``
one coordinate at a time. Inner-product kernels depend on ``x^T M z``. Network kernels
depend on that and on the norms. Composite kernels are made of others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlmethods.errors import OperationNotSupportedError
from mlmethods.interfaces import KernelSpec

__all__ = [
    "COMPOSITE",
    "COORDINATEWISE",
    "INNER_PRODUCT",
    "NETWORK",
    "RADIAL",
    "family",
    "has_unit_diagonal",
    "inner_product_derivative",
    "inner_product_value",
    "radial_value",
    "radial_weight",
    "safe_power",
    "safe_root",
]

RADIAL = frozenset({"laplace", "gaussian", "exp_power", "matern", "rational_quadratic"})
COORDINATEWISE = frozenset({"lpq", "sum_power"})
INNER_PRODUCT = frozenset({"quadratic", "inner_product", "linear", "polynomial"})
NETWORK = frozenset({"nngp", "ntk"})
COMPOSITE = frozenset({"sum", "product"})

_FAMILIES = {
    "radial": RADIAL,
    "coordinatewise": COORDINATEWISE,
    "inner_product": INNER_PRODUCT,
    "network": NETWORK,
    "composite": COMPOSITE,
}


def family(kernel: KernelSpec) -> str:
    """Return the name of the kernel's family, which says what computes it.

    Raises
    ------
    OperationNotSupportedError
        If this backend does not know the kernel or what it is made of.
    """
    if kernel.name == "matern" and kernel.option("nu") not in (0.5, 1.5, 2.5):
        raise OperationNotSupportedError(
            f"kernel 'matern' with nu={kernel.option('nu')} needs Bessel functions, "
            "which the JAX backend lacks; use nu 0.5, 1.5 or 2.5, or the NumPy backend"
        )
    for child in kernel.children:
        family(child)
    for name, members in _FAMILIES.items():
        if kernel.name in members:
            return name
    known = ", ".join(sorted(frozenset().union(*_FAMILIES.values())))
    raise OperationNotSupportedError(
        f"the JAX backend has no kernel {kernel.name!r}; it has: {known}"
    )


def has_unit_diagonal(kernel: KernelSpec) -> bool:
    """Return whether k(x, x) is 1 everywhere, as for kernels of the difference."""
    return kernel.name in RADIAL | COORDINATEWISE


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


def _rational_quadratic(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    a = kernel.params["alpha"]
    return jnp.exp(-a * jnp.log1p(r2 / (2.0 * a * kernel.bandwidth**2)))


def _rational_quadratic_weight(r2: jax.Array, kernel: KernelSpec) -> jax.Array:
    a, squared = kernel.params["alpha"], kernel.bandwidth**2
    return jnp.exp(-(a + 1.0) * jnp.log1p(r2 / (2.0 * a * squared))) / squared


_RADIAL = {
    ("rational_quadratic", None): _Radial(
        _rational_quadratic, _rational_quadratic_weight
    ),
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
    if kernel.name == "linear":
        return t
    if kernel.name == "quadratic":
        return t**2
    if kernel.name == "polynomial":
        return _polynomial_base(kernel, t) ** kernel.option("degree")
    return kernel.option("h")(t)


def inner_product_derivative(kernel: KernelSpec, t: jax.Array) -> jax.Array:
    """Return h' at inner products `t`."""
    if kernel.name == "linear":
        # Not plain ones: NaN must come through.
        return 0.0 * t + 1.0
    if kernel.name == "quadratic":
        return 2.0 * t
    if kernel.name == "polynomial":
        degree = kernel.option("degree")
        scale = degree * kernel.params["scale"]
        return scale * _polynomial_base(kernel, t) ** (degree - 1)
    return kernel.option("dh")(t)


def _polynomial_base(kernel: KernelSpec, t: jax.Array) -> jax.Array:
    return kernel.params["constant"] + kernel.params["scale"] * t
