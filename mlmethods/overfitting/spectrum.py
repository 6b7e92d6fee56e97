"""Eigenvalues of a kernel, with their multiplicities and the mass beyond them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError, NumericalWarning, SpectrumError
from mlmethods.interfaces import ArrayLike, NDArray

__all__ = ["Spectrum", "clip_negative"]

# A negative eigenvalue beyond this share of the largest is more than rounding.
_ROUNDING = 1e-10
# The series of the slow spectra are summed term by term up to here, then integrated.
_EXACT_TERMS = 10_000
# How far a measured spectrum is extended, in units of its own length.
_EXTENSION = 50


class Spectrum:
    """Eigenvalues of a kernel over the distribution of the data; immutable.

    Parameters
    ----------
    values : array-like of shape (levels,)
        Eigenvalues >= 0, one for each level, in any order, which is kept.
    multiplicities : array-like of shape (levels,), optional
        Modes > 0 that share the eigenvalue of a level; 1 by default. They need not be
        integers.
    tail : float, default=0.0
        Sum >= 0 of the eigenvalues that `values` leaves out.

    Attributes
    ----------
    values : ndarray of shape (levels,), float64
        Read-only.
    multiplicities : ndarray of shape (levels,), float64
        Read-only.
    tail : float
        The mass left out.
    n_modes : float
        The sum of the multiplicities.
    trace : float
        ``sum_i m_i lambda_i + tail``: the mean of k(x, x).

    Raises
    ------
    SpectrumError
        If an eigenvalue, a multiplicity or the tail is negative or not finite, a
        multiplicity is 0, or there is no eigenvalue.
    InvalidInputError
        If the shapes do not fit.

    Notes
    -----
    Modes whose eigenvalues are far below the effective regularization act together
    as a ridge of the size of their sum. That is what `tail` is for: a slowly decaying
    spectrum that is cut off without it has the wrong limits.

    Examples
    --------
    >>> from mlmethods.overfitting import Spectrum
    >>> spectrum = Spectrum([1.0, 0.25], multiplicities=[1, 3], tail=0.5)
    >>> spectrum.trace, spectrum.n_modes, len(spectrum)
    (2.25, 4.0, 2)
    >>> Spectrum.powerlaw(2.0, 1000)
    Spectrum(1000 levels, trace=1.645, tail=0.0009995)
    """

    __slots__ = ("_multiplicities", "_tail", "_values")

    def __init__(
        self,
        values: ArrayLike,
        multiplicities: ArrayLike | None = None,
        tail: float = 0.0,
    ) -> None:
        self._values = _levels("values", values)
        if not len(self._values):
            raise SpectrumError("values must hold at least one eigenvalue, got none")
        if multiplicities is None:
            counts = np.ones(len(self._values))
        else:
            counts = _levels("multiplicities", multiplicities)
            if counts.shape != self._values.shape:
                raise InvalidInputError(
                    f"multiplicities must have shape {self._values.shape}, one entry "
                    f"for each eigenvalue, got shape {counts.shape}"
                )
            if not counts.all():
                raise SpectrumError(
                    f"multiplicities must be > 0, got 0 at level {counts.argmin()}"
                )
        self._multiplicities = counts
        for array in (self._values, counts):
            array.flags.writeable = False
        try:
            self._tail = check_real("tail", tail, minimum=0)
        except InvalidInputError as error:
            raise SpectrumError(str(error)) from None

    @property
    def values(self) -> NDArray:
        """The eigenvalues, of shape (levels,)."""
        return self._values

    @property
    def multiplicities(self) -> NDArray:
        """The modes of each level, of shape (levels,)."""
        return self._multiplicities

    @property
    def tail(self) -> float:
        """The sum of the eigenvalues that are left out."""
        return self._tail

    @property
    def n_modes(self) -> float:
        """The number of modes, each level with its multiplicity."""
        return float(self._multiplicities.sum())

    @property
    def trace(self) -> float:
        """The sum of all eigenvalues, the tail included."""
        return float(self._values @ self._multiplicities) + self._tail

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        levels = f"{len(self)} levels"
        if self.n_modes != len(self):
            levels += f", {self.n_modes:.6g} modes"
        return f"Spectrum({levels}, trace={self.trace:.4g}, tail={self.tail:.4g})"

    @classmethod
    def powerlaw(cls, alpha: float, M: int) -> Spectrum:
        """Return ``i^-alpha`` for i = 1, ..., M; its cost tends to alpha.

        Parameters
        ----------
        alpha : float
            Exponent > 1.
        M : int
            Modes kept; the tail is Hurwitz' zeta function at M + 1.

        Raises
        ------
        InvalidInputError
            If an argument is outside its range.
        """
        from scipy.special import zeta

        alpha = check_real("alpha", alpha, minimum=1, open_minimum=True)
        index = _index(M)
        return cls(index**-alpha, tail=float(zeta(alpha, M + 1.0)))

    @classmethod
    def log_powerlaw(cls, a: float, M: int) -> Spectrum:
        """Return ``1 / (i log(i + 1)^a)`` for i = 1, ..., M; its cost tends to 1.

        Parameters
        ----------
        a : float
            Exponent > 1 of the logarithm.
        M : int
            Modes kept; the rest of the series is summed and integrated.

        Raises
        ------
        InvalidInputError
            If an argument is outside its range.
        """
        from scipy.integrate import quad

        a = check_real("a", a, minimum=1, open_minimum=True)
        index = _index(M)
        more = np.arange(M + 1.0, max(M, _EXACT_TERMS) + 1)
        summed = float(np.sum(1 / (more * np.log1p(more) ** a)))
        # In t = log(x + 1) the integrand is t^-a (1 + 1 / (e^t - 1)).
        start = math.log(max(M, _EXACT_TERMS) + 1.5)
        small, _ = quad(lambda t: t**-a / math.expm1(t), start, start + 40)
        tail = summed + start ** (1 - a) / (a - 1) + small
        return cls(1 / (index * np.log1p(index) ** a), tail=tail)

    @classmethod
    def exponential(cls, rate: float, M: int) -> Spectrum:
        """Return ``exp(-rate i)`` for i = 1, ..., M; its cost grows like ``rate n``.

        Parameters
        ----------
        rate : float
            Rate > 0 of the decay.
        M : int
            Modes kept; the tail is a geometric series.

        Raises
        ------
        InvalidInputError
            If an argument is outside its range.

        Notes
        -----
        Values below the smallest positive number, from ``rate i`` of about 700 on, are
        zero: such modes are not learned, whatever n is.
        """
        rate = check_real("rate", rate, minimum=0, open_minimum=True)
        index = _index(M)
        tail = math.exp(-rate * (M + 1)) / -math.expm1(-rate)
        return cls(np.exp(-rate * index), tail=tail)

    @classmethod
    def superpolynomial(cls, M: int) -> Spectrum:
        """Return ``i^(-log i)`` for i = 1, ..., M; its cost tends to infinity.

        Parameters
        ----------
        M : int
            Modes kept; the rest of the series is summed and integrated.

        Raises
        ------
        InvalidInputError
            If `M` is not an integer >= 1.
        """
        index = _index(M)
        last = max(M, _EXACT_TERMS)
        more = np.arange(M + 1.0, last + 1)
        # The integral of exp(-log(x)^2) by completing the square in log x, and the
        # next term of the midpoint rule.
        start = math.log(last + 0.5)
        integral = math.exp(0.25) * math.sqrt(math.pi) / 2 * math.erfc(start - 0.5)
        slope = -2 * start / (last + 0.5) * math.exp(-(start**2))
        tail = float(np.sum(np.exp(-(np.log(more) ** 2)))) + integral + slope / 24
        return cls(np.exp(-(np.log(index) ** 2)), tail=tail)

    @classmethod
    def from_empirical(
        cls, values: ArrayLike, tail: float | str = "powerlaw"
    ) -> Spectrum:
        """Return the spectrum that measured eigenvalues suggest.

        Parameters
        ----------
        values : array-like of shape (n,)
            Eigenvalues of ``K / n``, in any order; see
            :func:`~mlmethods.overfitting.empirical_spectrum`.
        tail : "powerlaw" or float, default="powerlaw"
            ``"powerlaw"`` keeps the largest quarter, which a sample of n points
            determines, and continues with the power law that
            :func:`~mlmethods.overfitting.fit_exponent` fits, for 50 n modes and then
            as a tail. A number keeps all the values and is the tail.

        Returns
        -------
        Spectrum
            In descending order.

        Raises
        ------
        SpectrumError
            If the fitted exponent is at most 1, where the series has no sum, or a
            value is not finite.
        InvalidInputError
            If `values` is no array of numbers or too short to fit.

        Warns
        -----
        NumericalWarning
            If a value is negative by more than rounding; it becomes zero.

        Notes
        -----
        A fitted exponent below 1 is usual for samples in more than about five
        dimensions, which show only the first few degrees of a kernel. The tail that
        keeps the trace is then ``sum(values[n // 4:])`` for ``values[:n // 4]``.
        """
        measured = clip_negative(np.sort(_numbers("values", values))[::-1])
        if tail != "powerlaw":
            return cls(measured, tail=tail)  # type: ignore[arg-type]
        from scipy.special import zeta

        from mlmethods.overfitting.empirical import fit_exponent

        kept = len(measured) // 4
        fit = fit_exponent(measured, n_bootstrap=0)
        if fit.alpha <= 1:
            raise SpectrumError(
                f"tail='powerlaw' needs eigenvalues that fall faster than 1/i, the "
                f"fitted exponent is {fit.alpha:.3g}; give the tail as a number"
            )
        last = _EXTENSION * len(measured)
        scale = math.exp(fit.intercept)
        further = scale * np.arange(kept + 1.0, last + 1) ** -fit.alpha
        rest = scale * float(zeta(fit.alpha, last + 1.0))
        return cls(np.concatenate([measured[:kept], further]), tail=rest)


def clip_negative(values: NDArray) -> NDArray:
    """Return `values` with what rounding made negative set to zero.

    Warns
    -----
    NumericalWarning
        If a value is negative by more than 1e-10 of the largest.
    """
    lowest, largest = float(values.min(initial=0)), float(values.max(initial=0))
    if -lowest > _ROUNDING * largest:
        warnings.warn(
            f"eigenvalues down to {lowest:.2e} were set to zero; the largest is "
            f"{largest:.2e}",
            NumericalWarning,
            stacklevel=3,
        )
    return np.maximum(values, 0.0)


def _index(M: Any) -> NDArray:
    return np.arange(1.0, check_integer("M", M, minimum=1) + 1)


def _numbers(name: str, values: ArrayLike) -> NDArray:
    array = np.array(values)
    if array.dtype.kind not in "biuf" or array.ndim != 1:
        raise InvalidInputError(
            f"{name} must be an array of real numbers of shape (levels,), got "
            f"dtype {array.dtype} and shape {array.shape}"
        )
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        first = int((~np.isfinite(array)).argmax())
        raise SpectrumError(
            f"{name} must be finite, got {float(array[first])} at {first}"
        )
    return array


def _levels(name: str, values: ArrayLike) -> NDArray:
    array = _numbers(name, values)
    if (array < 0).any():
        first = int((array < 0).argmax())
        raise SpectrumError(
            f"{name} must be >= 0, got {float(array[first])} at level {first}"
        )
    return array
