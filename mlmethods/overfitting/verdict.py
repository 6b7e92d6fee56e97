"""Benign, tempered or catastrophic: the verdict on measured curves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.rng import seed_sequence
from mlmethods.common.validation import check_choice, check_integer, check_real
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike
from mlmethods.overfitting._bootstrap import Resamples
from mlmethods.overfitting._curves import Curves, curves_from_arrays, curves_from_frame
from mlmethods.overfitting._decide import (
    LABELS,
    LEAST_RESOLVED,
    Decision,
    decide_classification,
    decide_regression,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Verdict", "classify_overfitting"]

TASKS = ("regression", "classification")
_LEAST_SEEDS = 3
_ADVISED = {"sizes": 5, "seeds": 5, "noise levels": 3}


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """What fitting noise costs as the sample grows, and how sure that is.

    Attributes
    ----------
    label : {"benign", "tempered", "catastrophic", "undetermined"}
        The verdict.
    task : {"regression", "classification"}
        What was learned.
    probabilities : dict of str to float
        The share of bootstrap replicates in each of the three classes; NaN where there
        are too few sizes or seeds to tell.
    e0 : DataFrame
        Regression: columns n, e0, lower, upper, resolved, one row a size. e0 is the
        risk that one unit of noise variance adds, 1 being no cost. Empty for
        classification.
    tau_by_n : DataFrame
        Classification: columns n, tau, lower, upper, resolved. Empty for regression.
    slope : float
        Slope of ``log(e0 - 1)``, or of ``log(tau)``, in ``log n`` over the upper half
        of the resolved sizes.
    slope_ci : tuple of float
        Its confidence interval.
    tau : float
        Classification: how far noise takes the risk from Bayes to chance at the largest
        resolved size, 0 not at all and 1 all the way. NaN for regression.
    tau_ci : tuple of float
        Its confidence interval.
    interpolates : bool or None
        Whether every model fits its training set exactly; None where that is unknown.
    evidence : dict
        Numbers of sizes, seeds and noise levels, the thresholds, the small-sample
        Akaike criteria of a decaying, a constant and a growing cost (`aicc`,
        `best_model`), the risk without noise at each size, and `notes` on what is
        missing.
    theory : str or None
        The label that theory predicts, where one was given.
    """

    label: str
    task: str
    probabilities: dict[str, float]
    e0: pd.DataFrame
    tau_by_n: pd.DataFrame
    slope: float
    slope_ci: tuple[float, float]
    tau: float
    tau_ci: tuple[float, float]
    interpolates: bool | None
    evidence: dict[str, Any]
    theory: str | None = None

    @property
    def disagrees(self) -> bool:
        """Whether theory predicts another label than the measured one."""
        return self.theory is not None and self.label not in (
            "undetermined",
            self.theory,
        )

    def __str__(self) -> str:
        curve = self.e0 if self.task == "regression" else self.tau_by_n
        name = "e0" if self.task == "regression" else "tau"
        rows = curve[curve["resolved"]]
        measured = "no size is resolved"
        if len(rows):
            last = rows.iloc[-1]
            what = "E0" if name == "e0" else "tau"
            measured = (
                f"{what} = {last[name]:.3g} [{last['lower']:.3g}, {last['upper']:.3g}] "
                f"at n = {last['n']:g}, slope {self.slope:.2g} "
                f"[{self.slope_ci[0]:.2g}, {self.slope_ci[1]:.2g}]"
            )
        shares = ", ".join(f"P({k}) = {v:.2f}" for k, v in self.probabilities.items())
        fits = {True: "interpolates", False: "does not interpolate", None: ""}
        parts = [
            shares,
            f"{len(rows)} of {len(curve)} sizes resolved",
            fits[self.interpolates],
        ]
        if self.theory is not None:
            verb = "theory disagrees" if self.disagrees else "theory"
            parts.append(f"{verb}: {self.theory}")
        return f"{self.label}: {measured}\n" + "; ".join(p for p in parts if p)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values; NaN becomes None."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("e0", "tau_by_n"):
            fields[name] = fields[name].to_dict(orient="list")
        return _plain({**fields, "disagrees": self.disagrees})

    def to_json(self) -> str:
        """Return the verdict as a JSON document."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Verdict:
        """Return the verdict that :meth:`to_dict` described.

        Raises
        ------
        InvalidInputError
            If an entry is missing.
        """
        import pandas as pd

        missing = sorted(set(cls.__dataclass_fields__) - set(document))
        if missing:
            raise InvalidInputError(
                f"a stored verdict must have all its entries, got none called {missing}"
            )
        values = {name: document[name] for name in cls.__dataclass_fields__}
        for name in ("e0", "tau_by_n"):
            frame = pd.DataFrame(values[name])
            numbers = [column for column in frame if column not in ("n", "resolved")]
            values[name] = frame.astype(dict.fromkeys(numbers, "float64"))
        for name in ("slope", "tau"):
            values[name] = _number(values[name])
        for name in ("slope_ci", "tau_ci"):
            values[name] = tuple(_number(end) for end in values[name])
        shares = values["probabilities"]
        values["probabilities"] = {k: _number(v) for k, v in shares.items()}
        return cls(**values)


def classify_overfitting(
    n: ArrayLike | pd.DataFrame,
    risk: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    bayes: float | None = None,
    task: str = "regression",
    n_classes: int | None = None,
    n_bootstrap: int = 1000,
    random_state: Any = 0,
    *,
    resolved: ArrayLike | None = None,
    interpolates: ArrayLike | None = None,
    chance: float | None = None,
    theory: str | None = None,
    g0: float = 0.05,
    level: float = 0.95,
) -> Verdict:
    """Decide from risks at several sizes, seeds and noise levels what noise costs.

    Parameters
    ----------
    n : array-like of shape (n_sizes,), or DataFrame
        Numbers of training rows. A DataFrame takes the place of `risk` and `noise`
        too: one row a run, with columns n, seed, noise, risk and, optionally,
        train_error, interpolates and resolved. Sizes with missing runs are left out.
    risk : array-like of shape (n_sizes, n_seeds, n_levels)
        Expected test loss of each run: the squared error with the noise variance of
        the targets included, or the share of wrong labels.
    noise : array-like of shape (n_levels,)
        Variances of the noise in the training targets for regression, shares of
        replaced training labels for classification; both include 0 at best.
    bayes : float, optional
        The least possible risk. Regression needs it only for a single noise level,
        and then E0 is ``risk / bayes``. Classification takes the learner's own risk
        without noise at each size by default, so that bias is not counted as a cost
        of noise.
    task : {"regression", "classification"}
        Which of the two.
    n_classes : int, optional
        Number of classes; needed for classification unless `chance` is given.
    n_bootstrap : int
        Resamples of the seeds.
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        Who resamples.
    resolved : array-like of bool, of shape (n_sizes, ...), optional
        False where rounding spoils a run. A size with such a run is left out.
    interpolates : array-like of bool, optional
        Whether each run fits its training set exactly.
    chance : float, optional
        The risk of guessing; ``1 - 1 / n_classes`` by default.
    theory : {"benign", "tempered", "catastrophic"}, optional
        What theory predicts, for comparison only.
    g0 : float
        Slopes in ``[-g0, g0]`` count as none.
    level : float
        Confidence of the intervals.

    Returns
    -------
    Verdict

    Raises
    ------
    InvalidInputError
        If an array has a wrong shape or bad values, or what the task needs is missing.

    Notes
    -----
    Regression. At each n a weighted line ``risk = a + E0 * noise`` tells the cost of
    noise from the bias. With g the slope of ``log(E0 - 1)`` in ``log n`` over the upper
    half of the resolved sizes, at least three of them, the label is

    - benign, if the interval of g is below ``-g0``, or if the interval of E0 at the
      largest n includes 1 and ends below 1.05;
    - catastrophic, if the interval of g is above `g0`, and that of E0 above 1;
    - tempered, if the interval of g is inside ``[-g0, g0]``, and that of E0 above 1.

    Where ``E0 - 1`` is below its standard error it is raised to it before the
    logarithm is taken, since the logarithm of noise around zero has no slope.

    Classification. tau at the largest n is the area between the risk and Bayes over
    the noise levels, by the trapezoid rule, divided by that between chance and Bayes.
    Its interval must be below 0.05 for benign, inside [0.05, 0.95] for tempered, above
    0.95 for catastrophic. The trend of tau is reported in `slope`; the label does not
    depend on it.

    In every other case, with fewer than three resolved sizes, and with fewer than three
    seeds the label is undetermined.

    Seeds are resampled jointly over sizes and noise levels. Replicates are widened
    about the estimate by ``sqrt(S / (S - 1)) t / z``, for S seeds and the quantiles
    of Student's t with ``S - 1`` degrees of freedom and of the normal distribution,
    because percentile intervals of few values are too narrow. The order of the seeds
    does not matter.

    References
    ----------
    N. Mallinar, J. B. Simon, A. Abedsoltan, P. Pandit, M. Belkin, P. Nakkiran, "Benign,
    Tempered, or Catastrophic: A Taxonomy of Overfitting", NeurIPS 2022.

    T. C. Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69 (2015).

    Examples
    --------
    A synthetic curve whose cost of noise stays 1.5, with five seeds:

    >>> import numpy as np
    >>> from mlmethods.overfitting import classify_overfitting
    >>> n = np.array([100, 200, 400, 800, 1600])
    >>> noise = np.array([0.0, 0.5, 1.0])
    >>> risk = 10 / n[:, None, None] + 1.5 * noise + np.zeros((5, 5, 3))
    >>> risk *= 1 + 0.002 * np.random.default_rng(0).normal(size=risk.shape)
    >>> classify_overfitting(n, risk, noise).label
    'tempered'
    """
    check_choice("task", task, TASKS)
    if theory is not None:
        check_choice("theory", theory, LABELS)
    check_integer("n_bootstrap", n_bootstrap, minimum=100)
    g0 = check_real("g0", g0, minimum=0, open_minimum=True)
    level = check_real("level", level, minimum=0.5, maximum=1, open_maximum=True)
    rng = np.random.default_rng(seed_sequence(random_state))
    curves = _curves(n, risk, noise, resolved, interpolates, task)
    curves = _in_order_of_values(curves)
    resamples = Resamples(curves.risk.shape[1], n_bootstrap, level, rng)
    if task == "regression":
        if bayes is not None:
            bayes = check_real("bayes", bayes, minimum=0, open_minimum=True)
        decision = decide_regression(curves, bayes, resamples, g0)
    else:
        chance = _chance(chance, n_classes)
        _check_rates(curves, chance)
        if bayes is not None:
            bayes = check_real("bayes", bayes, minimum=0, maximum=chance)
        decision = decide_classification(curves, bayes, chance, resamples)
    return _verdict(curves, decision, task, theory, {"g0": g0, "level": level})


def _curves(
    n: Any, risk: Any, noise: Any, resolved: Any, interpolates: Any, task: str
) -> Curves:
    if hasattr(n, "groupby"):
        extra = (risk, noise, resolved, interpolates)
        if any(value is not None for value in extra):
            raise InvalidInputError(
                "risk, noise, resolved and interpolates are columns of the table "
                "where n is one, and must not be given besides"
            )
        return curves_from_frame(n, task)
    if risk is None or noise is None:
        raise InvalidInputError(
            "risk and noise must be given unless n is a table of runs"
        )
    return curves_from_arrays(
        n, risk, noise, resolved=resolved, interpolates=interpolates
    )


def _in_order_of_values(curves: Curves) -> Curves:
    """Sort the seeds by their risks: their order in the input shall mean nothing."""
    per_seed = curves.risk.transpose(1, 0, 2).reshape(curves.risk.shape[1], -1)
    order = np.lexsort(per_seed.T[::-1]) if per_seed.shape[1] else [0]
    return Curves(**{**vars(curves), "risk": curves.risk[:, order]})


def _chance(chance: float | None, n_classes: int | None) -> float:
    if chance is not None:
        return check_real(
            "chance",
            chance,
            minimum=0,
            maximum=1,
            open_minimum=True,
            open_maximum=True,
        )
    if n_classes is None:
        raise InvalidInputError("n_classes or chance must be given for classification")
    return 1 - 1 / check_integer("n_classes", n_classes, minimum=2)


def _check_rates(curves: Curves, chance: float) -> None:
    if len(curves.noise) < 2:
        raise InvalidInputError(
            "noise must hold at least two levels for classification, got "
            f"{curves.noise.tolist()}"
        )
    if curves.noise[-1] > 1 or (curves.risk > 1).any():
        raise InvalidInputError(
            "noise and risk are shares in [0, 1] for classification, got up to "
            f"{max(curves.noise[-1], curves.risk.max()):g}"
        )


def _verdict(
    curves: Curves,
    decision: Decision,
    task: str,
    theory: str | None,
    settings: dict[str, float],
) -> Verdict:
    import pandas as pd

    S, regression = curves.risk.shape[1], task == "regression"
    label, probabilities = decision.label, decision.probabilities
    if S < _LEAST_SEEDS:
        label = "undetermined"
    if S < 2:
        probabilities = dict.fromkeys(LABELS, float("nan"))
    name = "e0" if regression else "tau"
    resolved = curves.resolved & np.isfinite(decision.estimate)
    lower, upper = decision.ends if S > 1 else np.full((2, len(curves.n)), np.nan)
    frame = pd.DataFrame(
        {
            "n": curves.n,
            name: decision.estimate,
            "lower": lower,
            "upper": upper,
            "resolved": resolved,
        }
    )
    other = pd.DataFrame(
        columns=["n", "tau" if regression else "e0", "lower", "upper", "resolved"]
    )
    last = frame[frame["resolved"]].tail(1)
    shown = len(last) > 0 and not regression
    counts = {
        "n_sizes": len(curves.n),
        "n_resolved": int(resolved.sum()),
        "n_seeds": S,
        "n_levels": len(curves.noise),
    }
    first, second = (float(end) for end in decision.slope_ends)
    return Verdict(
        label=label,
        task=task,
        probabilities=probabilities,
        e0=frame if regression else other,
        tau_by_n=other if regression else frame,
        slope=float(decision.slope),
        slope_ci=(first, second),
        tau=float(last["tau"].iloc[0]) if shown else math.nan,
        tau_ci=(
            (float(last["lower"].iloc[0]), float(last["upper"].iloc[0]))
            if shown
            else (math.nan, math.nan)
        ),
        interpolates=curves.interpolates,
        evidence={
            **counts,
            **settings,
            **decision.evidence,
            "notes": [*curves.notes, *_missing(counts)],
        },
        theory=theory,
    )


def _missing(counts: dict[str, int]) -> list[str]:
    """Return what a study of this size lacks, one sentence each."""
    notes = []
    if counts["n_seeds"] < _LEAST_SEEDS:
        notes.append(
            f"{counts['n_seeds']} seeds are too few for a verdict; at least "
            f"{_LEAST_SEEDS} are needed"
        )
    if counts["n_resolved"] < LEAST_RESOLVED:
        notes.append(
            f"{counts['n_resolved']} sizes are resolved; at least {LEAST_RESOLVED} are "
            "needed"
        )
    given = (counts["n_sizes"], counts["n_seeds"], counts["n_levels"])
    for (what, advised), count in zip(_ADVISED.items(), given, strict=True):
        if count < advised:
            notes.append(f"{count} {what} were measured; {advised} or more are advised")
    return notes


def _plain(value: Any) -> Any:
    """Return JSON values: NaN and infinity as None, NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
