"""The eigenframework: what kernel ridge regression learns, and what noise costs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer
from mlmethods.errors import InvalidInputError, SpectrumError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.overfitting._modes import (
    BIAS,
    CURVE,
    FLOW,
    LEARNED,
    SIGNAL,
    ModeSums,
    solve,
)
from mlmethods.overfitting.spectrum import Spectrum

__all__ = [
    "E0_powerlaw",
    "EigenPrediction",
    "effective_regularization",
    "predict",
    "ridge_for_target_cost",
    "sphere_exponent",
]

# Below this, kappa is not told from zero.
_SMALLEST_KAPPA = 1e-300
# Widens intervals by more than the rounding of their ends.
_SLACK = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class EigenPrediction:
    """What the eigenframework predicts, for each pair of n and reg.

    ``shape`` is that of `n`, `reg` and `noise_var` broadcast together; numbers give
    numbers.

    Attributes
    ----------
    kappa : float or ndarray of shape ``shape``
        Effective regularization.
    e0 : float or ndarray of shape ``shape``
        Overfitting coefficient: the test error on pure noise of variance one.
    test_mse : float or ndarray of shape ``shape``
        Mean squared test error; the noise of the test targets is in it.
    train_mse : float or ndarray of shape ``shape``
        Mean squared training error.
    learnability : float or ndarray of shape ``shape``
        Share of the target's power that is learned; NaN without a target.
    learnabilities : ndarray of shape ``shape + (levels,)``
        Share of each mode that is learned. This and the next two are computed when
        first read: 1000 pairs with 100,000 levels take 800 MB each.
    coef_mean, coef_var : ndarray of shape ``shape + (levels,)``
        Mean and variance of the learned coefficient of one mode of each level, over
        training sets. The mean of a level with several modes is that of the norm
        along the target, as its coefficient is.
    """

    kappa: Any
    e0: Any
    test_mse: Any
    train_mse: Any
    learnability: Any
    _spectrum: Spectrum = field(repr=False)
    _coeffs: NDArray | None = field(repr=False)
    _n: NDArray = field(repr=False)

    @cached_property
    def learnabilities(self) -> NDArray:
        """Share of each mode that is learned."""
        values = self._spectrum.values
        kappa = np.asarray(self.kappa)[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, values / (values + kappa), 0.0)

    @cached_property
    def coef_mean(self) -> NDArray:
        """Mean of the learned coefficients over training sets."""
        coeffs = 0.0 if self._coeffs is None else self._coeffs
        return self.learnabilities * coeffs

    @cached_property
    def coef_var(self) -> NDArray:
        """Variance of the learned coefficients over training sets."""
        scale = np.asarray(self.test_mse) / self._n
        return self.learnabilities**2 * scale[..., None]

    def __repr__(self) -> str:
        if np.ndim(self.kappa):
            return f"EigenPrediction({np.size(self.kappa)} pairs of n and reg)"
        return (
            f"EigenPrediction(kappa={self.kappa:.4g}, e0={self.e0:.4g}, "
            f"test_mse={self.test_mse:.4g}, train_mse={self.train_mse:.4g})"
        )


def effective_regularization(
    spectrum: Spectrum, n: ArrayLike, reg: ArrayLike = 0.0
) -> Any:
    """Return the kappa at which kernel ridge regression stops learning modes.

    The root of ``sum_i m_i lambda_i / (lambda_i + kappa) + (reg + tail) / kappa = n``.
    Modes with eigenvalues well above it are learned, those well below are not.

    Parameters
    ----------
    spectrum : Spectrum
        Eigenvalues of the kernel.
    n : float or array-like
        Training samples, > 0.
    reg : float or array-like, default=0.0
        Ridge >= 0, not divided by n; broadcast with `n`.

    Returns
    -------
    float or ndarray, float64
        To a relative 1e-12, or 1e-16 times the overfitting coefficient if that is
        larger.

    Raises
    ------
    SpectrumError
        If there is no root: without ridge and tail, n samples determine a spectrum
        of at most n modes.
    InvalidInputError
        If an argument is outside its range, or the shapes do not broadcast.

    References
    ----------
    J. B. Simon, M. Dickens, D. Karkada, M. R. DeWeese, "The Eigenlearning Framework:
    A Conservation Law Perspective on Kernel Regression and Wide Neural Networks",
    TMLR (2023), arXiv:2110.03922.

    Examples
    --------
    For ``i^-2`` it is near ``(pi / 2)^2 / n^2``:

    >>> import numpy as np
    >>> from mlmethods.overfitting import Spectrum, effective_regularization
    >>> n = np.array([100, 1000])
    >>> kappa = effective_regularization(Spectrum.powerlaw(2.0, 100_000), n)
    >>> (kappa * n**2).round(3)
    array([2.443, 2.465])
    """
    _check_spectrum(spectrum)
    n, reg = _broadcast(n=n, reg=reg)
    kappa, _ = _solve_kappa(spectrum, _mode_sums(spectrum, None), n, reg)
    return _unwrap(kappa)


def predict(
    spectrum: Spectrum,
    coeffs: ArrayLike | None,
    n: ArrayLike,
    reg: ArrayLike = 0.0,
    noise_var: ArrayLike = 0.0,
) -> EigenPrediction:
    """Return the errors of kernel ridge regression that the eigenframework predicts.

    Parameters
    ----------
    spectrum : Spectrum
        Eigenvalues of the kernel.
    coeffs : array-like of shape (levels,) or None
        Coefficients of the target in the eigenfunctions, not squared. That of a level
        with several modes is the root of their power together. None is pure noise.
        Power in the tail is never learned: add it to `noise_var`.
    n : float or array-like
        Training samples, > 0.
    reg : float or array-like, default=0.0
        Ridge >= 0, not divided by n.
    noise_var : float or array-like, default=0.0
        Variance >= 0 of the noise; broadcast with `n` and `reg`.

    Returns
    -------
    EigenPrediction

    Raises
    ------
    SpectrumError
        If kappa has no root; see :func:`effective_regularization`.
    InvalidInputError
        If an argument is outside its range, or the shapes do not fit.

    Notes
    -----
    The theory treats the eigenfunctions as independent Gaussian features. In low
    dimension they are not, and a measured cost can differ: the ridgeless Laplace
    kernel in one dimension has ``e0`` of 5/3 where the theory says 2. Compare with
    :func:`~mlmethods.overfitting.overfitting_coefficient`, which needs no theory.

    The tail enters as a ridge in kappa only; the training error keeps `reg`.

    Hundreds of pairs cost little more than one: the sums over modes are analytic
    functions of log kappa, tabulated once and interpolated to rounding.

    References
    ----------
    J. B. Simon, M. Dickens, D. Karkada, M. R. DeWeese, "The Eigenlearning Framework",
    TMLR (2023), arXiv:2110.03922.

    N. Mallinar, J. B. Simon, A. Abedsoltan, P. Pandit, M. Belkin, P. Nakkiran, "Benign,
    Tempered, or Catastrophic: A Taxonomy of Overfitting", NeurIPS (2022),
    arXiv:2207.06569.

    Examples
    --------
    The cost of interpolating noise tends to the exponent of the spectrum:

    >>> from mlmethods.overfitting import Spectrum, predict
    >>> noise = predict(Spectrum.powerlaw(1.5, 100_000), None, 1000, noise_var=1.0)
    >>> round(noise.test_mse, 2), noise.train_mse
    (1.5, 0.0)
    """
    _check_spectrum(spectrum)
    target = None if coeffs is None else _coefficients(coeffs, len(spectrum))
    n, reg, noise = _broadcast(n=n, reg=reg, noise_var=noise_var)
    power = None if target is None else target**2
    modes = _mode_sums(spectrum, power)
    kappa, sums = _solve_kappa(spectrum, modes, n, reg)
    e0 = n / ((reg + spectrum.tail) / kappa + sums[..., FLOW])
    test_mse = e0 * (sums[..., BIAS] + noise)
    total = 0.0 if power is None else float(power.sum())
    share = sums[..., SIGNAL] / total if total > 0 else np.full(n.shape, np.nan)
    return EigenPrediction(
        kappa=_unwrap(kappa),
        e0=_unwrap(e0),
        test_mse=_unwrap(test_mse),
        train_mse=_unwrap((reg / (n * kappa)) ** 2 * test_mse),
        learnability=_unwrap(share),
        _spectrum=spectrum,
        _coeffs=target,
        _n=n,
    )


def ridge_for_target_cost(spectrum: Spectrum, n: ArrayLike, cost: ArrayLike) -> Any:
    """Return the smallest ridge whose overfitting coefficient is at most `cost`.

    Parameters
    ----------
    spectrum : Spectrum
        Eigenvalues of the kernel.
    n : float or array-like
        Training samples, > 0.
    cost : float or array-like
        What noise may cost, > 1: 1.05 is five percent above the noise itself.

    Returns
    -------
    float or ndarray, float64
        0 where the model without ridge costs no more.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, or the shapes do not broadcast.

    Notes
    -----
    The coefficient depends on the ridge through kappa alone: ``sum_i L_i^2 =
    n (1 - 1 / cost)`` gives kappa, and the equation of kappa then gives the ridge.

    Examples
    --------
    >>> from mlmethods.overfitting import Spectrum, predict, ridge_for_target_cost
    >>> spectrum = Spectrum.powerlaw(2.0, 100_000)
    >>> reg = ridge_for_target_cost(spectrum, 1000, 1.05)
    >>> round(predict(spectrum, None, 1000, reg).e0, 9)
    1.05
    """
    _check_spectrum(spectrum)
    n, cost = _broadcast(n=n, cost=cost)
    modes = _mode_sums(spectrum, None)
    goal = n * (1 - 1 / cost)
    flat_goal, flat_n, flat_cost = goal.ravel(), n.ravel(), cost.ravel()
    reg = np.zeros(goal.size)
    # With fewer modes than that no ridge reaches the cost from above.
    bound = np.flatnonzero(modes.count > flat_goal * (1 + _SLACK))
    if len(bound):
        wanted = flat_goal[bound]
        lower = modes.smallest * (np.sqrt(modes.count / wanted) - 1)
        lower = np.maximum(lower * (1 - _SLACK), _SMALLEST_KAPPA)
        upper = np.maximum(modes.total / wanted * (1 + _SLACK), lower)

        def gap(
            sums: NDArray, kappa: NDArray, index: NDArray
        ) -> tuple[NDArray, NDArray]:
            squares = sums[:, LEARNED] - sums[:, FLOW]
            value = np.log(squares / wanted[index])
            return value, -2 * sums[:, CURVE] / squares

        kappa, sums = solve(modes, gap, lower, upper)
        # n - sum L, with the first two terms of the difference known exactly.
        free = flat_n[bound] / flat_cost[bound] - sums[:, FLOW]
        reg[bound] = np.maximum(kappa * free - spectrum.tail, 0.0)
    return _unwrap(reg.reshape(goal.shape))


def E0_powerlaw(alpha: ArrayLike, s: ArrayLike = 1.0) -> Any:
    """Return the overfitting coefficient of a power-law spectrum, n large.

    Parameters
    ----------
    alpha : float or array-like
        Exponent > 1 of the eigenvalues ``i^-alpha``.
    s : float or array-like, default=1.0
        How far the model interpolates, in [0, 1]: 1 without ridge. It is
        ``1 - sqrt(train MSE / test MSE)``, so one regularized fit shows it.

    Returns
    -------
    float or ndarray, float64
        ``alpha / (alpha - (alpha - 1) s)``.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, or the shapes do not broadcast.

    Examples
    --------
    >>> from mlmethods.overfitting import E0_powerlaw
    >>> E0_powerlaw(2.0), E0_powerlaw(2.0, s=0.5)
    (2.0, 1.3333333333333333)
    """
    alpha, s = _broadcast(alpha=alpha, s=s)
    return _unwrap(alpha / (alpha - (alpha - 1) * s))


def sphere_exponent(kernel: Any, d: int) -> float:
    """Return the exponent of a kernel's eigenvalues on the sphere in R^d.

    Parameters
    ----------
    kernel : Kernel
        A Laplace, Matérn or Gaussian kernel, or a ReLU :class:`NTKKernel` or
        :class:`NNGPKernel` of :mod:`mlmethods.kernels`.
    d : int
        Dimension >= 2 of the space around the sphere.

    Returns
    -------
    float
        alpha in ``lambda_i ~ i^-alpha``; infinity where they fall faster than every
        power. It is also the theory's limit of the overfitting coefficient.

    Raises
    ------
    InvalidInputError
        If the exponent of this kernel is not known, or `d` is below 2.

    Notes
    -----
    An eigenvalue of degree k that falls like ``k^-p`` gives ``alpha = p / (d - 1)``:
    p is d for the Laplace kernel and the ReLU tangent kernel with bias, of any depth,
    ``2 nu + d - 1`` for a Matérn kernel and ``d + 2`` for the ReLU NNGP kernel.

    Examples
    --------
    >>> from mlmethods.kernels import GaussianKernel, LaplaceKernel
    >>> from mlmethods.overfitting import sphere_exponent
    >>> sphere_exponent(LaplaceKernel(), 6), sphere_exponent(GaussianKernel(), 6)
    (1.2, inf)
    """
    from mlmethods import kernels

    d = check_integer("d", d, minimum=2)
    if isinstance(kernel, kernels.Kernel):
        kernel.to_spec()
    if isinstance(kernel, kernels.LaplaceKernel):
        return d / (d - 1)
    if isinstance(kernel, kernels.MaternKernel):
        return 1 + 2 * float(kernel.nu) / (d - 1)
    if isinstance(kernel, kernels.GaussianKernel):
        return float("inf")
    network = isinstance(kernel, kernels.NTKKernel | kernels.NNGPKernel)
    if network and kernel.activation == "relu" and kernel.b_std > 0 and not kernel.skip:
        tangent = isinstance(kernel, kernels.NTKKernel)
        return (d if tangent else d + 2) / (d - 1)
    raise InvalidInputError(
        "kernel must be a LaplaceKernel, a MaternKernel, a GaussianKernel, or a ReLU "
        f"NTKKernel or NNGPKernel with b_std > 0 and without skips, got {kernel!r}"
    )


def _solve_kappa(
    spectrum: Spectrum, modes: ModeSums, n: NDArray, reg: NDArray
) -> tuple[NDArray, NDArray]:
    """Return kappa, of the shape of `n`, and the sums there with one more axis."""
    samples = n.ravel()
    ridge = reg.ravel() + spectrum.tail
    solvable = (modes.count > samples) | (ridge > _SMALLEST_KAPPA * samples)
    if not solvable.all():
        size = samples[~solvable][0]
        raise SpectrumError(
            f"kappa has no value for n={size:g} samples with a spectrum of "
            f"M={modes.count:g} modes above zero, without ridge and tail: n must be "
            "below M; give the spectrum more modes or a tail, or set reg > 0"
        )
    lower = np.maximum(ridge, modes.smallest * (modes.count - samples)) / samples
    lower = np.maximum(lower * (1 - _SLACK), _SMALLEST_KAPPA)
    upper = np.maximum((modes.total + ridge) / samples * (1 + _SLACK), lower)

    def gap(sums: NDArray, kappa: NDArray, index: NDArray) -> tuple[NDArray, NDArray]:
        # In the logarithm a power law is a straight line.
        share = ridge[index] / kappa
        filled = sums[:, LEARNED] + share
        slope = -(sums[:, FLOW] + share) / filled
        return np.log(filled / samples[index]), slope

    kappa, sums = solve(modes, gap, lower, upper)
    return kappa.reshape(n.shape), sums.reshape(*n.shape, -1)


def _mode_sums(spectrum: Spectrum, power: NDArray | None) -> ModeSums:
    return ModeSums(spectrum.values, spectrum.multiplicities, power)


def _check_spectrum(spectrum: Any) -> None:
    if not isinstance(spectrum, Spectrum):
        raise InvalidInputError(
            f"spectrum must be a Spectrum, got {type(spectrum).__name__}"
        )


def _coefficients(coeffs: ArrayLike, levels: int) -> NDArray:
    array = np.asarray(coeffs)
    if array.dtype.kind not in "biuf" or array.shape != (levels,):
        raise InvalidInputError(
            f"coeffs must be real numbers of shape ({levels},), one for each level, "
            f"got dtype {array.dtype} and shape {array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInputError("coeffs must be finite, got NaN or infinity")
    return array


# Range of each argument, as text and as a test.
_RANGES: dict[str, tuple[str, Any]] = {
    "n": ("> 0", lambda x: x > 0),
    "reg": (">= 0", lambda x: x >= 0),
    "noise_var": (">= 0", lambda x: x >= 0),
    "cost": ("> 1", lambda x: x > 1),
    "alpha": ("> 1", lambda x: x > 1),
    "s": ("in [0, 1]", lambda x: (x >= 0) & (x <= 1)),
}


def _broadcast(**arguments: ArrayLike) -> list[NDArray]:
    """Return the arguments checked, in float64 and of one shape."""
    arrays = []
    for name, value in arguments.items():
        array = np.asarray(value)
        text, within = _RANGES[name]
        if array.dtype.kind not in "iuf":
            raise InvalidInputError(
                f"{name} must be real numbers {text}, got dtype {array.dtype}"
            )
        array = array.astype(np.float64)
        wrong = ~(np.isfinite(array) & within(array))
        if wrong.any():
            raise InvalidInputError(
                f"{name} must be finite and {text}, got {float(array[wrong].flat[0])}"
            )
        arrays.append(array)
    try:
        return list(np.broadcast_arrays(*arrays))
    except ValueError:
        shapes = ", ".join(f"{k} {np.shape(v)}" for k, v in arguments.items())
        raise InvalidInputError(f"shapes do not broadcast: {shapes}") from None


def _unwrap(array: NDArray) -> Any:
    """Return a number where there was no axis."""
    return array.item() if array.ndim == 0 else array
