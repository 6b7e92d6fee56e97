"""Guess who was in the training set, and say how well it went."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, NDArray
from mlmethods.privacy.attacks._probabilities import check_labels, check_probabilities
from mlmethods.privacy.attacks._result import MembershipResult, membership_result

__all__ = [
    "MembershipResult",
    "confidence_threshold",
    "entropy_threshold",
    "lira",
    "loss_threshold",
]

# Fewer shadow models than this share one variance over all examples.
_FEW_SHADOWS = 32
_SMALLEST_VARIANCE = 1e-12


def loss_threshold(
    member_losses: ArrayLike,
    nonmember_losses: ArrayLike,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    rng: Any = None,
) -> MembershipResult:
    """Take examples with a small loss for members.

    Parameters
    ----------
    member_losses, nonmember_losses : array-like of shape (m,) and (k,)
        Losses of the target on examples it was trained on, and on others.
    n_bootstrap : int
        Resamples of members and of others.
    level : float
        Confidence of the intervals, in (0, 1).
    rng : None, int or numpy.random.Generator
        Who draws the resamples.

    Returns
    -------
    MembershipResult
        The scores are the losses with the sign turned.

    Raises
    ------
    InvalidInputError
        If there is no member or no other, or a loss is not finite.

    References
    ----------
    S. Yeom, I. Giacomelli, M. Fredrikson, S. Jha, "Privacy risk in machine learning:
    analyzing the connection to overfitting", CSF (2018), arXiv:1709.01604.

    Examples
    --------
    >>> from mlmethods.privacy.attacks import loss_threshold
    >>> result = loss_threshold([0.1, 0.2, 0.4], [0.3, 0.9], n_bootstrap=20, rng=0)
    >>> round(result.auc, 4), round(result.balanced_accuracy, 4)
    (0.8333, 0.8333)
    """
    inside = _losses("member_losses", member_losses)
    outside = _losses("nonmember_losses", nonmember_losses)
    scores, membership = _joined(-inside, -outside)
    return membership_result("loss", scores, membership, n_bootstrap, level, rng)


def confidence_threshold(
    member_probabilities: ArrayLike,
    nonmember_probabilities: ArrayLike,
    member_labels: ArrayLike | None = None,
    nonmember_labels: ArrayLike | None = None,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    rng: Any = None,
) -> MembershipResult:
    """Take examples with a confident prediction for members.

    Parameters
    ----------
    member_probabilities, nonmember_probabilities : array-like (m, c) and (k, c)
        Probabilities that the target gives to each class.
    member_labels, nonmember_labels : int array-like of shape (m,) and (k,), optional
        True classes; the score is the probability of the true class, or the largest one
        without them.
    n_bootstrap, level, rng
        See :func:`loss_threshold`.

    Returns
    -------
    MembershipResult

    Raises
    ------
    InvalidInputError
        If rows are not probabilities, a label is no class, or only one side has labels.

    References
    ----------
    A. Salem et al., "ML-Leaks: model and data independent membership inference attacks
    and defenses on machine learning models", NDSS (2019), arXiv:1806.01246.

    Examples
    --------
    >>> from mlmethods.privacy.attacks import confidence_threshold
    >>> result = confidence_threshold(
    ...     [[0.9, 0.1]], [[0.6, 0.4], [0.95, 0.05]], [0], [0, 1], n_bootstrap=20, rng=0
    ... )
    >>> result.auc
    1.0
    """
    scores = []
    for probabilities, labels in _sides(
        member_probabilities, nonmember_probabilities, member_labels, nonmember_labels
    ):
        scores.append(
            probabilities.max(axis=1) if labels is None else _own(probabilities, labels)
        )
    joined, membership = _joined(*scores)
    return membership_result("confidence", joined, membership, n_bootstrap, level, rng)


def entropy_threshold(
    member_probabilities: ArrayLike,
    nonmember_probabilities: ArrayLike,
    member_labels: ArrayLike | None = None,
    nonmember_labels: ArrayLike | None = None,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    rng: Any = None,
) -> MembershipResult:
    """Take examples whose prediction has a small entropy for members.

    Parameters
    ----------
    member_probabilities, nonmember_probabilities : array-like (m, c) and (k, c)
        Probabilities that the target gives to each class.
    member_labels, nonmember_labels : int array-like of shape (m,) and (k,), optional
        True classes. With them the entropy is the modified one of Song and Mittal,
        ``-(1 - p_y) log p_y - sum_(i != y) p_i log(1 - p_i)``, which a confident wrong
        prediction makes large.
    n_bootstrap, level, rng
        See :func:`loss_threshold`.

    Returns
    -------
    MembershipResult

    Raises
    ------
    InvalidInputError
        If rows are not probabilities, a label is no class, or only one side has labels.

    References
    ----------
    L. Song, P. Mittal, "Systematic evaluation of privacy risks of machine learning
    models", USENIX Security (2021), arXiv:2003.10595.

    Examples
    --------
    >>> from mlmethods.privacy.attacks import entropy_threshold
    >>> result = entropy_threshold(
    ...     [[0.9, 0.1]], [[0.6, 0.4], [0.95, 0.05]], n_bootstrap=20, rng=0
    ... )
    >>> result.auc
    0.5
    """
    scores = []
    for probabilities, labels in _sides(
        member_probabilities, nonmember_probabilities, member_labels, nonmember_labels
    ):
        scores.append(-_entropy(probabilities, labels))
    joined, membership = _joined(*scores)
    return membership_result("entropy", joined, membership, n_bootstrap, level, rng)


def lira(
    target_scores: ArrayLike,
    shadow_scores: ArrayLike,
    inclusion: ArrayLike,
    membership: ArrayLike,
    *,
    online: bool = True,
    fixed_variance: bool | Literal["auto"] = "auto",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    rng: Any = None,
) -> MembershipResult:
    """Compare each example's score with those of shadow models with and without it.

    The scores of shadow models that were trained on an example are taken for one normal
    distribution, those of the others for another; the attack's score is the logarithm
    of the likelihood ratio (online), or how far the target lies above the second
    distribution, in its standard deviations (offline).

    Parameters
    ----------
    target_scores : array-like of shape (n,)
        Scores of the examples under the target, such as
        :func:`mlmethods.privacy.attacks.logit_confidence`.
    shadow_scores : array-like of shape (m, n)
        Scores under each shadow model; see
        :func:`mlmethods.privacy.attacks.train_shadows`.
    inclusion : bool array-like of shape (m, n)
        Which shadow model was trained on which example.
    membership : bool array-like of shape (n,)
        Which example the target was trained on.
    online : bool
        Whether shadow models with the example are used; without them, shadow models can
        be trained before the examples are known.
    fixed_variance : bool or "auto"
        Whether all examples share the variance around their own means; ``"auto"`` for
        fewer than 32 shadow models.
    n_bootstrap, level, rng
        See :func:`loss_threshold`.

    Returns
    -------
    MembershipResult

    Raises
    ------
    InvalidInputError
        If shapes differ, a score is not finite, or an example is in too few or too many
        shadow models: a mean needs one on each side, a variance of its own two.

    References
    ----------
    N. Carlini, S. Chien, M. Nasr, S. Song, A. Terzis, F. Tramer, "Membership inference
    attacks from first principles", IEEE S&P (2022), arXiv:2112.03570.

    Examples
    --------
    Synthetic scores that are higher by 2 where the example was in:

    >>> import numpy as np
    >>> from mlmethods.privacy.attacks import lira
    >>> rng = np.random.default_rng(0)
    >>> hardness = rng.normal(0, 5, 400)
    >>> inclusion = np.arange(8)[:, None] % 2 == np.arange(400) % 2
    >>> scores = hardness + 2 * inclusion + rng.normal(0, 1, (8, 400))
    >>> lira(scores[0], scores[1:], inclusion[1:], inclusion[0], rng=0).auc > 0.8
    True
    """
    target, shadows, kept, members = _lira_inputs(
        target_scores, shadow_scores, inclusion, membership
    )
    if fixed_variance not in (True, False, "auto"):
        raise InvalidInputError(
            f"fixed_variance must be True, False or 'auto', got {fixed_variance!r}"
        )
    few = len(shadows) < _FEW_SHADOWS
    pooled = few if fixed_variance == "auto" else bool(fixed_variance)
    mean_out, var_out = _moments(shadows, ~kept, pooled, "without")
    if online:
        mean_in, var_in = _moments(shadows, kept, pooled, "with")
        scores = _log_normal(target, mean_in, var_in)
        scores = scores - _log_normal(target, mean_out, var_out)
    else:
        # The tail probability is monotone in this distance, which never saturates.
        scores = (target - mean_out) / np.sqrt(var_out)
    name = f"LiRA ({'online' if online else 'offline'}, {len(shadows)} shadow models)"
    return membership_result(name, scores, members, n_bootstrap, level, rng)


def _lira_inputs(
    target_scores: ArrayLike,
    shadow_scores: ArrayLike,
    inclusion: ArrayLike,
    membership: ArrayLike,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    target = _losses("target_scores", target_scores)
    shadows = np.asarray(shadow_scores, np.float64)
    if shadows.ndim != 2 or shadows.shape[1] != len(target) or not len(shadows):
        raise InvalidInputError(
            f"shadow_scores must have shape (m, {len(target)}), got {shadows.shape}"
        )
    if not np.isfinite(shadows).all():
        raise InvalidInputError("shadow_scores must be finite, got NaN or infinity")
    flags = {
        "inclusion": (inclusion, shadows.shape),
        "membership": (membership, target.shape),
    }
    checked = []
    for name, (values, shape) in flags.items():
        array = np.asarray(values)
        if array.dtype != bool or array.shape != shape:
            raise InvalidInputError(
                f"{name} must be boolean of shape {shape}, got {array.dtype} of shape "
                f"{array.shape}"
            )
        checked.append(array)
    return target, shadows, checked[0], checked[1]


def _moments(
    shadows: NDArray, chosen: NDArray, pooled: bool, side: str
) -> tuple[NDArray, NDArray]:
    """Return each example's mean and variance over the chosen shadow models."""
    count = chosen.sum(axis=0)
    needed = 1 if pooled else 2
    if count.min() < needed:
        worst = int(count.argmin())
        raise InvalidInputError(
            f"inclusion must leave at least {needed} shadow models {side} each example, "
            f"got {count[worst]} for example {worst}"
        )
    mean = np.where(chosen, shadows, 0).sum(axis=0) / count
    squares = np.where(chosen, (shadows - mean) ** 2, 0).sum(axis=0)
    if not pooled:
        return mean, np.maximum(squares / (count - 1), _SMALLEST_VARIANCE)
    freedom = int((count - 1).sum())
    if freedom == 0:
        raise InvalidInputError(
            f"inclusion must leave some example two shadow models {side} it, got one "
            "each: there is no variance"
        )
    return mean, np.full(
        len(mean), max(float(squares.sum()) / freedom, _SMALLEST_VARIANCE)
    )


def _log_normal(x: NDArray, mean: NDArray, variance: NDArray) -> NDArray:
    return -0.5 * ((x - mean) ** 2 / variance + np.log(variance))


def _losses(name: str, values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != 1 or not len(array):
        raise InvalidInputError(
            f"{name} must be real numbers of shape (n,) with n >= 1, got {array.dtype} "
            f"of shape {array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
    return array


def _joined(inside: NDArray, outside: NDArray) -> tuple[NDArray, NDArray]:
    membership = np.arange(len(inside) + len(outside)) < len(inside)
    return np.concatenate([inside, outside]), membership


def _sides(
    inside: ArrayLike,
    outside: ArrayLike,
    inside_labels: ArrayLike | None,
    outside_labels: ArrayLike | None,
) -> list[tuple[NDArray, NDArray | None]]:
    """Return probabilities and labels of members, then of others."""
    if (inside_labels is None) != (outside_labels is None):
        raise InvalidInputError(
            "member_labels and nonmember_labels must be given together, got one of them"
        )
    sides = []
    for name, probabilities, labels in (
        ("member", inside, inside_labels),
        ("nonmember", outside, outside_labels),
    ):
        table = check_probabilities(f"{name}_probabilities", probabilities)
        if labels is not None:
            labels = check_labels(f"{name}_labels", labels, table)
        sides.append((table, labels))
    return sides


def _own(probabilities: NDArray, labels: NDArray) -> NDArray:
    """Return the probability of each row's own class."""
    return np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]


def _entropy(probabilities: NDArray, labels: NDArray | None) -> NDArray:
    from scipy.special import xlog1py, xlogy

    if labels is None:
        return -xlogy(probabilities, probabilities).sum(axis=1)
    own = _own(probabilities, labels)
    # The smallest float64 stands for the logarithm of zero, which is infinite.
    floor = np.finfo(np.float64).tiny
    others = xlog1py(probabilities, -np.minimum(probabilities, 1 - 1e-16))
    rest = others.sum(axis=1) - _own(others, labels)
    return -(1 - own) * np.log(np.maximum(own, floor)) - rest
