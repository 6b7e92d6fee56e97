"""The kernels that every backend knows, one class each.

With ``u = M^{1/2} (x - z)``, ``r = |u|_2`` and ``L = bandwidth``, a length in the
unit of the columns. The default L = 10 is meant for standardized columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, KernelSpec, NDArray
from mlmethods.kernels._arrays import squared_norms
from mlmethods.kernels.base import Kernel

__all__ = [
    "ExpPowerKernel",
    "GaussianKernel",
    "InnerProductKernel",
    "LaplaceKernel",
    "LaplaceL1Kernel",
    "LinearKernel",
    "LpqKernel",
    "MaternKernel",
    "PolynomialKernel",
    "QuadraticKernel",
    "RationalQuadraticKernel",
    "SumPowerLaplaceKernel",
]


class _LengthKernel(Kernel):
    """A kernel of the difference x - z, measured in units of a bandwidth."""

    bandwidth: Any

    def _bandwidth(self) -> float:
        return check_real("bandwidth", self.bandwidth, minimum=0, open_minimum=True)


class LaplaceKernel(_LengthKernel):
    """The Laplace kernel ``exp(-r / L)``.

    Parameters
    ----------
    bandwidth : float, default=10.0
        Length scale L > 0.

    Examples
    --------
    >>> from mlmethods.kernels import LaplaceKernel
    >>> kernel = LaplaceKernel(bandwidth=1.0)
    >>> kernel([[0.0], [1.0]], backend="numpy").round(3)
    array([[1.   , 0.368],
           [0.368, 1.   ]])
    """

    def __init__(self, *, bandwidth: float = 10.0) -> None:
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        return KernelSpec(name="laplace", bandwidth=self._bandwidth())

    def to_sklearn(self) -> Any:
        """Return ``Matern(nu=0.5)``."""
        from sklearn.gaussian_process.kernels import Matern

        return Matern(length_scale=self._bandwidth(), nu=0.5)


class GaussianKernel(_LengthKernel):
    """The Gaussian kernel ``exp(-r^2 / (2 L^2))``.

    Parameters
    ----------
    bandwidth : float, default=10.0
        Length scale L > 0. scikit-learn's ``gamma`` is ``1 / (2 L^2)``; a kernel
        written ``exp(-r^2 / s)`` has ``L = sqrt(s / 2)``.
    """

    def __init__(self, *, bandwidth: float = 10.0) -> None:
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        return KernelSpec(name="gaussian", bandwidth=self._bandwidth())

    def to_sklearn(self) -> Any:
        """Return ``RBF``."""
        from sklearn.gaussian_process.kernels import RBF

        return RBF(length_scale=self._bandwidth())


class ExpPowerKernel(_LengthKernel):
    """The exponential power kernel ``exp(-(r / L)^q)``.

    Parameters
    ----------
    q : float, default=1.0
        Exponent, 0 < q <= 2: beyond 2 the function is not positive definite.
    bandwidth : float, default=10.0
        Length scale L > 0.
    """

    def __init__(self, q: float = 1.0, *, bandwidth: float = 10.0) -> None:
        self.q = q
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        q = check_real("q", self.q, minimum=0, maximum=2, open_minimum=True)
        return KernelSpec(
            name="exp_power", bandwidth=self._bandwidth(), params={"q": q}
        )


class MaternKernel(_LengthKernel):
    """The Matérn kernel of smoothness nu.

    With ``y = sqrt(2 nu) r / L`` it is ``2^(1 - nu) / Gamma(nu) y^nu K_nu(y)``.

    Parameters
    ----------
    nu : float, default=1.5
        Smoothness, 0 < nu <= 30. 0.5, 1.5 and 2.5 run on every backend, other
        values on NumPy only; for larger ones use :class:`GaussianKernel`, the limit.
    bandwidth : float, default=10.0
        Length scale L > 0.
    """

    def __init__(self, nu: float = 1.5, *, bandwidth: float = 10.0) -> None:
        self.nu = nu
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        nu = check_real("nu", self.nu, minimum=0, maximum=30, open_minimum=True)
        return KernelSpec(
            name="matern", bandwidth=self._bandwidth(), static=(("nu", nu),)
        )

    def to_sklearn(self) -> Any:
        """Return ``Matern``."""
        from sklearn.gaussian_process.kernels import Matern

        self.to_spec()
        return Matern(length_scale=float(self.bandwidth), nu=float(self.nu))


class LpqKernel(_LengthKernel):
    """The generalized Laplace kernel ``exp(-|u|_p^q / L^q)``.

    Parameters
    ----------
    p : float, default=1.0
        Norm of the distance.
    q : float, default=1.0
        Its exponent. The kernel is positive definite for 0 < q <= p <= 2; other
        values are refused. ``p = q = 1`` is the product Laplace kernel.
    bandwidth : float, default=10.0
        Length scale L > 0.

    Notes
    -----
    For p != 2 the result depends on the root of M: it is the symmetric one.
    """

    def __init__(
        self, p: float = 1.0, q: float = 1.0, *, bandwidth: float = 10.0
    ) -> None:
        self.p = p
        self.q = q
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        p = check_real("p", self.p, minimum=0, maximum=2, open_minimum=True)
        q = check_real("q", self.q, minimum=0, maximum=2, open_minimum=True)
        if q > p:
            raise InvalidInputError(
                f"q must be at most p, where the kernel is positive definite, "
                f"got q={self.q!r} and p={self.p!r}"
            )
        return KernelSpec(
            name="lpq", bandwidth=self._bandwidth(), params={"p": p, "q": q}
        )


class LaplaceL1Kernel(_LengthKernel):
    """The product Laplace kernel ``exp(-|u|_1 / L)`` of the sum of differences.

    Parameters
    ----------
    bandwidth : float, default=10.0
        Length scale L > 0.

    Notes
    -----
    scikit-learn's ``laplacian_kernel`` is this one, with ``gamma = 1 / L``;
    :class:`LaplaceKernel` takes the Euclidean distance instead. It is
    :class:`LpqKernel` with p = q = 1, and the same function on every backend.

    Examples
    --------
    >>> from mlmethods.kernels import LaplaceL1Kernel
    >>> kernel = LaplaceL1Kernel(bandwidth=2.0)
    >>> kernel([[0.0, 0.0]], [[1.0, 1.0]], backend="numpy").round(3)
    array([[0.368]])
    """

    def __init__(self, *, bandwidth: float = 10.0) -> None:
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        return KernelSpec(
            name="lpq", bandwidth=self._bandwidth(), params={"p": 1.0, "q": 1.0}
        )

    def to_sklearn(self) -> Any:
        """Return ``PairwiseKernel(metric="laplacian")``."""
        from sklearn.gaussian_process.kernels import PairwiseKernel

        return PairwiseKernel(gamma=1 / self._bandwidth(), metric="laplacian")


class RationalQuadraticKernel(_LengthKernel):
    """The rational quadratic kernel ``(1 + r^2 / (2 alpha L^2))^-alpha``.

    A mixture of Gaussian kernels over bandwidths; for large alpha a Gaussian kernel.

    Parameters
    ----------
    alpha : float, default=1.0
        Exponent > 0.
    bandwidth : float, default=10.0
        Length scale L > 0.

    Examples
    --------
    >>> from mlmethods.kernels import RationalQuadraticKernel
    >>> kernel = RationalQuadraticKernel(alpha=1.0, bandwidth=1.0)
    >>> kernel([[0.0]], [[2.0]], backend="numpy").round(3)
    array([[0.333]])
    """

    def __init__(self, alpha: float = 1.0, *, bandwidth: float = 10.0) -> None:
        self.alpha = alpha
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        alpha = check_real("alpha", self.alpha, minimum=0, open_minimum=True)
        return KernelSpec(
            name="rational_quadratic",
            bandwidth=self._bandwidth(),
            params={"alpha": alpha},
        )

    def to_sklearn(self) -> Any:
        """Return ``RationalQuadratic``."""
        from sklearn.gaussian_process.kernels import RationalQuadratic

        self.to_spec()
        return RationalQuadratic(
            length_scale=float(self.bandwidth), alpha=float(self.alpha)
        )


class SumPowerLaplaceKernel(_LengthKernel):
    """A power of the mean of one-dimensional kernels.

    ``S^power`` with ``S = c + (1 - c) mean_j exp(-|u_j|^q / L^q)``, c = const_mix.

    Parameters
    ----------
    q : float, default=1.0
        Exponent of each coordinate, 0 < q <= 2.
    power : int, default=2
        Exponent of the mean, at least 1: products of that many coordinates.
    const_mix : float, default=0.0
        Share of the constant, 0 <= c < 1: lower-order products.
    bandwidth : float, default=10.0
        Length scale L > 0 of one coordinate.

    Notes
    -----
    The coordinates are those of ``M^{1/2} x`` with the symmetric root.
    """

    def __init__(
        self,
        q: float = 1.0,
        power: int = 2,
        const_mix: float = 0.0,
        *,
        bandwidth: float = 10.0,
    ) -> None:
        self.q = q
        self.power = power
        self.const_mix = const_mix
        self.bandwidth = bandwidth

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        q = check_real("q", self.q, minimum=0, maximum=2, open_minimum=True)
        power = check_real("power", self.power, minimum=1)
        if not power.is_integer():
            raise InvalidInputError(
                f"power must be an integer >= 1, where the kernel is positive "
                f"definite, got {self.power!r}"
            )
        mix = check_real(
            "const_mix", self.const_mix, minimum=0, maximum=1, open_maximum=True
        )
        return KernelSpec(
            name="sum_power",
            bandwidth=self._bandwidth(),
            params={"q": q, "power": power, "const_mix": mix},
        )


class InnerProductKernel(Kernel):
    """A kernel ``h(x^T M z)`` of the inner product.

    Parameters
    ----------
    h : callable
        Elementwise function of an array. Written with operators alone it runs on
        every backend; otherwise with the functions of one backend's array library.
    dh : callable
        Its derivative, likewise.

    Notes
    -----
    The kernel is positive definite where the power series of h has no negative
    coefficient; that is not checked. Named functions compile once; a new lambda
    compiles anew. A model with this kernel cannot be saved: code is not stored.

    Examples
    --------
    >>> from mlmethods.kernels import InnerProductKernel
    >>> def cube(t): return (1 + t) ** 3
    >>> def slope(t): return 3 * (1 + t) ** 2
    >>> InnerProductKernel(cube, slope)([[1.0]], [[1.0]], backend="numpy")
    array([[8.]])
    """

    def __init__(self, h: Callable[[Any], Any], dh: Callable[[Any], Any]) -> None:
        self.h = h
        self.dh = dh

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        for name in ("h", "dh"):
            value = getattr(self, name)
            if not callable(value):
                raise InvalidInputError(
                    f"{name} must be a function of an array, got {value!r}"
                )
        return KernelSpec(name="inner_product", static=(("dh", self.dh), ("h", self.h)))

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return ``h(x^T M x)`` for each row of `X`, an array of shape (n,)."""
        self.to_spec()
        return np.asarray(self.h(squared_norms(X, M)), dtype=np.float64)


class QuadraticKernel(Kernel):
    """The quadratic kernel ``(x^T M z)^2``; it has no parameters.

    Examples
    --------
    >>> from mlmethods.kernels import QuadraticKernel
    >>> QuadraticKernel()([[1.0, 2.0]], [[3.0, 1.0]], backend="numpy")
    array([[25.]])
    """

    def __init__(self) -> None:
        pass

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        return KernelSpec(name="quadratic")

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return ``(x^T M x)^2`` for each row of `X`, an array of shape (n,)."""
        return squared_norms(X, M) ** 2

    def to_sklearn(self) -> Any:
        """Return ``DotProduct(sigma_0=0) ** 2``."""
        from sklearn.gaussian_process.kernels import DotProduct

        return DotProduct(sigma_0=0.0) ** 2


class LinearKernel(Kernel):
    """The inner product ``x^T M z``; it has no parameters.

    Examples
    --------
    >>> from mlmethods.kernels import LinearKernel
    >>> LinearKernel()([[1.0, 2.0]], [[3.0, 1.0]], backend="numpy")
    array([[5.]])
    """

    def __init__(self) -> None:
        pass

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        return KernelSpec(name="linear")

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return ``x^T M x`` for each row of `X`, an array of shape (n,)."""
        return squared_norms(X, M)

    def to_sklearn(self) -> Any:
        """Return ``DotProduct(sigma_0=0)``."""
        from sklearn.gaussian_process.kernels import DotProduct

        return DotProduct(sigma_0=0.0)


class PolynomialKernel(Kernel):
    """The polynomial kernel ``(constant + scale x^T M z)^degree``.

    Parameters
    ----------
    degree : int, default=3
        Exponent, at least 1.
    constant : float, default=1.0
        At least 0; with 0 only products of `degree` columns are features.
    scale : float, default=1.0
        Factor > 0 of the inner product; ``1 / d`` for d standardized columns keeps
        values near 1.

    Examples
    --------
    >>> from mlmethods.kernels import PolynomialKernel
    >>> PolynomialKernel(2)([[1.0, 2.0]], [[3.0, 1.0]], backend="numpy")
    array([[36.]])
    """

    def __init__(
        self, degree: int = 3, *, constant: float = 1.0, scale: float = 1.0
    ) -> None:
        self.degree = degree
        self.constant = constant
        self.scale = scale

    def to_spec(self) -> KernelSpec:
        """Return the kernel as data."""
        degree = check_integer("degree", self.degree, minimum=1)
        constant = check_real("constant", self.constant, minimum=0)
        scale = check_real("scale", self.scale, minimum=0, open_minimum=True)
        return KernelSpec(
            name="polynomial",
            params={"constant": constant, "scale": scale},
            static=(("degree", degree),),
        )

    def diag(self, X: ArrayLike, M: ArrayLike | None = None) -> NDArray:
        """Return k(x, x) for each row of `X`, an array of shape (n,)."""
        params = self.to_spec().params
        base = params["constant"] + params["scale"] * squared_norms(X, M)
        return base ** int(self.degree)

    def to_sklearn(self) -> Any:
        """Return ``PairwiseKernel(metric="poly")``."""
        from sklearn.gaussian_process.kernels import PairwiseKernel

        spec = self.to_spec()
        return PairwiseKernel(
            gamma=spec.params["scale"],
            metric="poly",
            pairwise_kernels_kwargs={
                "degree": spec.option("degree"),
                "coef0": spec.params["constant"],
            },
        )
