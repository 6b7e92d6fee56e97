"""The description of a kernel function that every backend understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from mlmethods.interfaces.arrays import Array, ArrayLike, NDArray, Static

__all__ = ["KERNEL_NAMES", "Kernel", "KernelSpec"]

KERNEL_NAMES = (
    "laplace",
    "gaussian",
    "exp_power",
    "matern",
    "lpq",
    "sum_power",
    "quadratic",
    "inner_product",
    "linear",
    "polynomial",
    "rational_quadratic",
    "nngp",
    "ntk",
    "sum",
    "product",
)
"""Kernel names with a meaning shared by all backends (see :class:`KernelSpec`)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelSpec:
    r"""A kernel as data: a name, traced numbers and static choices.

    With ``u = M^{1/2} (x - z)``, ``r = |u|_2`` and ``L = bandwidth``:

    ====================== ================================= ======================
    name                   k(x, z)                           parameters
    ====================== ================================= ======================
    ``laplace``            exp(-r / L)
    ``gaussian``           exp(-r^2 / (2 L^2))
    ``exp_power``          exp(-(r / L)^q)                   params ``q``
    ``matern``             Matern of smoothness nu           static ``nu``
    ``rational_quadratic`` (1 + r^2 / (2 a L^2))^-a          params ``alpha`` (a)
    ``lpq``                exp(-\|u\|_p^q / L^q)             params ``p``, ``q``
    ``sum_power``          S^power, S = c + (1 - c) mean_j   params ``q``,
                           exp(-\|u_j\|^q / L^q)             ``power``,
                                                             ``const_mix`` (c)
    ``linear``             x^T M z
    ``quadratic``          (x^T M z)^2
    ``polynomial``         (c + s x^T M z)^degree            params ``constant`` (c),
                                                             ``scale`` (s);
                                                             static ``degree``
    ``inner_product``      h(x^T M z)                        static ``h``, ``dh``
    ``nngp``, ``ntk``      covariance and tangent kernel of  params ``w_std``,
                           an infinitely wide network whose  ``b_std``,
                           inputs have the inner product     ``readout_w_std``,
                           s x^T M z / d                     ``readout_b_std``,
                                                             ``scale`` (s);
                                                             static ``activation``,
                                                             ``depth``, ``skip``
    ``sum``                sum_i w_i k_i(x, z)               children k_i, params
                                                             ``weights`` (w)
    ``product``            prod_i k_i(x, z)                  children k_i
    ====================== ================================= ======================

    Parameters
    ----------
    name : str
        One of :data:`KERNEL_NAMES`, or a name that a third-party backend adds.
    bandwidth : float or array of shape ()
        Length scale L, in the unit of the distance. Traced: a new value compiles
        nothing.
    params : dict of str to float
        Further numbers; traced like ``bandwidth``.
    static : tuple of (str, hashable) pairs
        Choices that select code paths; a new value compiles anew.
    children : tuple of KernelSpec
        What a sum or a product is made of.

    Notes
    -----
    A specification checks nothing: ranges are checked where a
    :class:`mlmethods.kernels.Kernel` is made. The JAX backend registers this class
    as a pytree whose leaves are ``bandwidth``, the values of ``params`` and the leaves
    of the children. The formulas of ``nngp`` and ``ntk`` are those of
    :class:`mlmethods.kernels.NNGPKernel` and :class:`mlmethods.kernels.NTKKernel`.
    """

    name: str
    bandwidth: Any = 1.0
    params: dict[str, Any] = field(default_factory=dict)
    static: Static = ()
    children: tuple[KernelSpec, ...] = ()

    def option(self, name: str) -> Any:
        """Return the static choice called `name`.

        Raises
        ------
        KeyError
            If the kernel has no such choice.
        """
        return dict(self.static)[name]


class Kernel(Protocol):
    """What functions that accept a kernel object rely on."""

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        ...

    def __call__(
        self, X: ArrayLike, Z: ArrayLike | None = None, M: ArrayLike | None = None
    ) -> NDArray:
        """Return the kernel matrix of shape (n, m)."""
        ...

    def grad(
        self,
        X: ArrayLike,
        Z: ArrayLike | None,
        alpha: Array,
        M: ArrayLike | None = None,
    ) -> NDArray:
        """Return the gradients of ``sum_j alpha_j k(x, z_j)`` at each x."""
        ...
