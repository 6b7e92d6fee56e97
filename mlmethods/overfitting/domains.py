"""Exact spectra of kernels on the sphere, the circle and the Boolean cube."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlmethods.common.validation import check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.kernels import GaussianKernel, Kernel
from mlmethods.overfitting.spectrum import Spectrum, clip_negative

__all__ = ["circle_spectrum", "hypercube_spectrum", "sphere_spectrum"]

# Nodes of one panel, the phase of the highest degree across it, and the fewest panels.
_NODES, _PHASE, _FEWEST_PANELS = 16, 8.0, 32
# Halvings of the first panel, where a kernel may be a power of the angle.
_HALVINGS = 48
# A coefficient of degree k below (64 + k) units of rounding of its terms is zero: five
# times the largest rounding seen on kernels with known coefficients.
_EPS, _FLOOR = float(np.finfo(np.float64).eps), 64
# Mass that a level may have beyond what k(1) leaves for it.
_MASS_SLACK = 1e-9
# A tail below this share of k(1) is rounding.
_SMALLEST_TAIL = 1e-13
# Degrees of a Gaussian kernel's tail at most, and where their recurrence starts.
_MOST_DEGREES, _EXTRA_DEGREES = 1_000_000, 200


def sphere_spectrum(
    kernel: Kernel, d: int, k_max: int, *, radius: float | None = None
) -> Spectrum:
    """Return the spectrum of a kernel for points uniform on a sphere.

    The level number k holds the spherical harmonics of degree k.

    Parameters
    ----------
    kernel : Kernel
        A kernel that depends on the angle between two points of the same norm.
    d : int
        Dimension >= 2 of the space; the sphere has dimension d - 1.
    k_max : int
        Largest degree >= 0.
    radius : float, optional
        Norm > 0 of the points; by default 1, and sqrt(d) for kernels of networks.

    Returns
    -------
    Spectrum
        ``k_max + 1`` levels. The tail is ``k(x, x)`` minus the sum of the levels.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range, or a multiplicity exceeds float64.
    OperationNotSupportedError
        If the kernel does not depend on the angle alone.

    Warns
    -----
    NumericalWarning
        If an eigenvalue is negative by more than rounding: the kernel is not positive
        definite on this sphere.

    Notes
    -----
    The Funk-Hecke formula in the angle, by Gauss-Legendre quadrature on panels that
    shrink towards angle 0, where kernels such as the Laplace kernel are not smooth in
    the inner product. Coefficients that are not told from rounding are zero, among
    them the odd degrees above 1 of a network with one hidden layer and no bias; what
    mass they have is in the tail; in high dimension that is most high degrees. The Gaussian kernel is computed from its series of
    Bessel functions, to full relative accuracy at every degree.

    References
    ----------
    K. Atkinson, W. Han, "Spherical Harmonics and Approximations on the Unit Sphere",
    Springer (2012), section 2.5.

    Examples
    --------
    >>> from mlmethods.kernels import LaplaceKernel
    >>> from mlmethods.overfitting import sphere_spectrum
    >>> spectrum = sphere_spectrum(LaplaceKernel(bandwidth=1.0), 3, 50)
    >>> spectrum.multiplicities[:4]
    array([1., 3., 5., 7.])
    >>> round(spectrum.trace, 12)
    1.0
    """
    _check_kernel(kernel)
    d = check_integer("d", d, minimum=2)
    k_max = check_integer("k_max", k_max, minimum=0)
    if radius is not None:
        radius = check_real("radius", radius, minimum=0, open_minimum=True)
    counts = _multiplicities(d, k_max)
    if isinstance(kernel, GaussianKernel):
        return _gaussian_spectrum(kernel, d, counts, 1.0 if radius is None else radius)
    angle, weight = _angles(d, k_max)
    cosine = np.cos(angle)
    # Cosine 1 along with the nodes, in one call.
    profile = kernel.zonal(np.append(cosine, 1.0), d, radius=radius, backend="numpy")
    profile, total = profile[:-1], float(profile[-1])
    values = np.empty(k_max + 1)
    weighted = profile * weight
    before, harmonic = np.zeros_like(cosine), np.ones_like(cosine)
    for degree in range(k_max + 1):
        values[degree] = _coefficient(weighted, harmonic, degree)
        if degree == 0:
            before, harmonic = harmonic, cosine
            continue
        following = (2 * degree + d - 2) * cosine * harmonic - degree * before
        before, harmonic = harmonic, following / (degree + d - 2)
    return _with_tail(clip_negative(values), counts, total)


def circle_spectrum(kernel: Kernel, k_max: int) -> Spectrum:
    """Return the spectrum of a kernel for points uniform on the unit circle.

    Parameters
    ----------
    kernel : Kernel
        A kernel that depends on the angle between two points of the same norm.
    k_max : int
        Largest frequency >= 0.

    Returns
    -------
    Spectrum
        ``k_max + 1`` levels: the constant, and a cosine and a sine of each frequency.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range.
    OperationNotSupportedError
        If the kernel does not depend on the angle alone.

    Notes
    -----
    The circle is the sphere in two dimensions and computed as one: a Fourier transform
    of equidistant values adds the frequencies that they do not tell apart, which for
    the Laplace kernel is a visible error at every k.

    Examples
    --------
    >>> from mlmethods.kernels import GaussianKernel
    >>> from mlmethods.overfitting import circle_spectrum
    >>> circle_spectrum(GaussianKernel(bandwidth=1.0), 2).values.round(4)
    array([0.4658, 0.2079, 0.0499])
    """
    return sphere_spectrum(kernel, 2, k_max, radius=1.0)


def hypercube_spectrum(kernel: Kernel, d: int) -> Spectrum:
    """Return the spectrum of a kernel for points uniform on the vertices of a cube.

    The vertices are the ``2^d`` points of {-1, 1}^d, so their norm is sqrt(d). The
    level number k holds the products of k coordinates.

    Parameters
    ----------
    kernel : Kernel
        A kernel whose value for two vertices depends on the number of coordinates in
        which they differ: every kernel of a p-distance or the inner product.
    d : int
        Number of coordinates, 1 to 1000.

    Returns
    -------
    Spectrum
        d + 1 levels with C(d, k) modes each; the tail is the mass of levels that are
        not told from rounding.

    Raises
    ------
    InvalidInputError
        If an argument is outside its range.

    Warns
    -----
    NumericalWarning
        If an eigenvalue is negative by more than rounding.

    Notes
    -----
    A sum over the distance with Krawtchouk polynomials. The Gaussian kernel is a product over coordinates, and its
    eigenvalues have full relative accuracy.

    Examples
    --------
    >>> from mlmethods.kernels import QuadraticKernel
    >>> from mlmethods.overfitting import hypercube_spectrum
    >>> hypercube_spectrum(QuadraticKernel(), 4).values.round(12)
    array([4., 0., 2., 0., 0.])
    """
    _check_kernel(kernel)
    d = check_integer("d", d, minimum=1, maximum=1000)
    distance = np.arange(d + 1)
    corner = np.ones((1, d))
    others = np.where(np.arange(d)[None, :] < distance[:, None], -1.0, 1.0)
    profile = kernel(corner, others, backend="numpy", dtype="float64")[0]
    exact = [math.comb(d, k) for k in range(d + 1)]
    counts = np.array(exact, dtype=np.float64)
    if isinstance(kernel, GaussianKernel):
        # A product over coordinates, of 1 and exp(-2 / L^2).
        apart = 2.0 / float(kernel.bandwidth) ** 2
        same, differs = (1 + math.exp(-apart)) / 2, -math.expm1(-apart) / 2
        return Spectrum(same ** (d - distance) * differs**distance, counts)
    # Shares of the vertices, each rounded once: the sums cancel almost entirely.
    weighted = profile * np.array([count / 2**d for count in exact])
    mirror = np.where(distance % 2, -1.0, 1.0)
    values = np.empty(d + 1)
    before, product = np.zeros(d + 1), np.ones(d + 1)
    for degree in range(d // 2 + 1):
        values[degree] = _coefficient(weighted, product, degree)
        # The recurrence is unstable in the upper half, which mirrors the lower.
        values[d - degree] = _coefficient(weighted, mirror * product, degree)
        following = (d - 2 * distance) * product - degree * before
        before, product = product, following / (d - degree)
    return _with_tail(clip_negative(values), counts, float(profile[0]))


def _check_kernel(kernel: Any) -> None:
    if not isinstance(kernel, Kernel):
        raise InvalidInputError(
            f"kernel must be a Kernel object, got {type(kernel).__name__}"
        )
    kernel.to_spec()


def _coefficient(weighted: NDArray, harmonic: NDArray, degree: int) -> float:
    """Return the mean of the product, or 0 where it is not told from rounding."""
    terms = weighted * harmonic
    value = float(terms.sum())
    floor = (_FLOOR + degree) * _EPS * float(np.abs(terms).sum())
    return value if abs(value) > floor else 0.0


def _with_tail(values: NDArray, counts: NDArray, total: float) -> Spectrum:
    """Return the spectrum whose trace is k(x, x) = `total`.

    A level of more mass than those before leave is rounding that a huge multiplicity
    makes visible; it counts as zero.
    """
    kept, left = values.copy(), total
    for level, mass in enumerate(values * counts):
        if mass > left + _MASS_SLACK * total:
            kept[level] = 0.0
        else:
            left -= mass
    return Spectrum(kept, counts, left if left > _SMALLEST_TAIL * total else 0.0)


def _log_comb(n: Any, k: Any) -> NDArray:
    from scipy.special import gammaln

    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def _multiplicities(d: int, k_max: int) -> NDArray:
    """Return the number of spherical harmonics of each degree in R^d."""
    degree = np.arange(1.0, k_max + 1)
    logs = np.log((2 * degree + d - 2) / degree) + _log_comb(degree + d - 3, degree - 1)
    with np.errstate(over="ignore"):
        counts = np.exp(logs)
    if not np.isfinite(counts).all():
        raise InvalidInputError(
            f"k_max={k_max} has more harmonics in dimension d={d} than float64 can "
            "count; choose a smaller k_max"
        )
    # They are integers, where float64 holds those.
    counts = np.where(counts < 2**40, np.rint(counts), counts)
    return np.concatenate([[1.0], counts])


def _angles(d: int, k_max: int) -> tuple[NDArray, NDArray]:
    """Return nodes in [0, pi] and weights of the uniform law on the sphere in R^d."""
    panels = max(_FEWEST_PANELS, math.ceil(math.pi * k_max / _PHASE))
    edges = np.linspace(0.0, math.pi, panels + 1)
    graded = edges[1] * 0.5 ** np.arange(_HALVINGS, 0, -1.0)
    edges = np.concatenate([edges[:1], graded, edges[1:]])
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    angle = (edges[:-1, None] + half * (1 + nodes)).ravel()
    weight = (half * weights).ravel() * np.sin(angle) ** (d - 2)
    return angle, weight / weight.sum()


def _gaussian_spectrum(
    kernel: GaussianKernel, d: int, counts: NDArray, radius: float
) -> Spectrum:
    """Return the spectrum of the Gaussian kernel from its closed form.

    With ``t = (radius / bandwidth)^2`` and ``nu = d / 2 - 1`` the eigenvalue of degree
    k is proportional to the Bessel function ``I_{nu + k}(t)``.
    """
    t = (radius / float(kernel.bandwidth)) ** 2
    k_max = len(counts) - 1
    # Beyond degree t, and beyond many times its root, no mass is left.
    further = 200 + min(2 * t, 12 * math.sqrt(d * t))
    if further > _MOST_DEGREES:
        raise InvalidInputError(
            f"kernel must have a bandwidth nearer to the radius {radius:g} for a "
            f"spectrum of degrees, got {kernel!r}"
        )
    last = k_max + int(further)
    logs = _log_bessel_ratios(d / 2 - 1, t, last)
    degree = np.arange(1.0, last + 1)
    log_counts = np.zeros(last + 1)
    log_counts[1:] = np.log((2 * degree + d - 2) / degree)
    log_counts[1:] += _log_comb(degree + d - 3, degree - 1)
    # All terms are positive and k(x, x) = 1, which gives the factor in front.
    mass = logs + log_counts
    largest = mass.max()
    logs -= largest + math.log(np.exp(mass - largest).sum())
    values = np.exp(logs[: k_max + 1])
    tail = float(np.exp(logs[k_max + 1 :] + log_counts[k_max + 1 :]).sum())
    return Spectrum(values, counts, tail)


def _log_bessel_ratios(nu: float, t: float, last: int) -> NDArray:
    """Return ``log(I_{nu + k}(t) / I_nu(t))`` for k = 0, ..., last.

    By the recurrence of ``I_{mu + 1} / I_mu``, downwards, where errors die out.
    """
    order = nu + last + _EXTRA_DEGREES
    ratio = t / (order + 1 + math.hypot(order + 1, t))
    logs = np.zeros(last + 1)
    for k in range(last + _EXTRA_DEGREES, 0, -1):
        ratio = 1 / (2 * (nu + k) / t + ratio)
        if k <= last:
            logs[k] = math.log(ratio)
    return np.cumsum(logs)
