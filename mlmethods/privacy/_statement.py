"""What an account says in words: its unit, what it rests on, and its report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlmethods.errors import AdjacencyError, InvalidInputError
from mlmethods.privacy._ledger import Entry
from mlmethods.privacy.mechanisms import (
    GaussianMechanism,
    NoPrivacy,
    VonMisesFisherMechanism,
)

if TYPE_CHECKING:
    from mlmethods.privacy.accountant import Accountant

__all__ = ["assumptions", "format_report", "make_report", "unit"]

_NEIGHBORS = {
    "replace_one": "neighbors differ in the values of one example",
    "add_remove": "neighbors differ in the presence of one example",
}


def unit(entries: tuple[Entry, ...]) -> str:
    """Return what is protected, once for each that differs."""
    return "; ".join(dict.fromkeys(entry.mechanism.unit for entry in entries))


def assumptions(entries: tuple[Entry, ...], method: str) -> tuple[str, ...]:
    """Return what a guarantee rests on, by the method that composed it."""
    found = ["noise is of real numbers: bits lost to floating point are not counted"]
    if any(entry.rate is not None for entry in entries):
        found.append(
            "batches are Poisson: each example is drawn on its own, at the stated rate, "
            "and nobody sees who was"
        )
    if any(entry.rate is None for entry in entries):
        found.append("each example takes part once in each step that is counted here")
    directional = [e for e in entries if _is_directional(e)]
    if directional:
        found.append("norms are public constants, and zero gradients become directions")
    if any(entry.n_releases > 1 for entry in directional):
        found.append("direction groups of one example are released on their own")
    if method == "pld" and any(
        isinstance(entry.mechanism, VonMisesFisherMechanism) for entry in entries
    ):
        found.append(
            "a conjecture, for the loss distribution alone: opposite directions are "
            "the worst pair of the von Mises-Fisher mechanism"
        )
    return tuple(found)


def _is_directional(entry: Entry) -> bool:
    return not isinstance(entry.mechanism, GaussianMechanism | NoPrivacy)


def make_report(accountant: Accountant, delta: float) -> dict[str, Any]:
    """Return the dictionary of `Accountant.report`."""
    entries = accountant.entries
    notes: dict[str, str] = {}

    def read(name: str, compute: Any) -> Any:
        try:
            return compute()
        except (AdjacencyError, InvalidInputError) as error:
            notes[name] = str(error)
            return None

    spent = read("epsilon", lambda: accountant.spent(delta))
    proven = accountant.pld_is_proven
    return {
        "adjacency": accountant.adjacency,
        "unit": unit(entries),
        "steps": accountant.n_steps,
        "delta": delta,
        "epsilon": None if spent is None else spent.epsilon,
        "method": None if spent is None else spent.method,
        "rdp_epsilon": read("rdp", lambda: accountant.epsilon(delta, "rdp")),
        "pld_epsilon": read("pld", lambda: accountant.epsilon(delta, "pld")),
        "pld_proven": proven,
        "pure_epsilon": read("pure", accountant.pure_epsilon),
        "metric_epsilon": read("metric", accountant.metric_epsilon),
        "releases": [_describe(entry) for entry in entries],
        "assumptions": list(assumptions(entries, "pld" if not proven else "rdp")),
        "notes": notes,
    }


def _describe(entry: Entry) -> dict[str, Any]:
    """Return one kind of step; costs are of one participation, all its groups."""
    mechanism: Any = entry.mechanism
    pure = [(r.times, r.pure_epsilon()) for r in entry.releases]
    total = sum(times * epsilon for times, epsilon in pure)
    described = getattr(mechanism, "to_dict", lambda: {"mechanism": repr(mechanism)})
    return {
        "mechanism": described(),
        "name": type(mechanism).__name__,
        "sampling": "every step" if entry.rate is None else "poisson",
        "rate": entry.rate,
        "steps": entry.count,
        "groups": entry.n_releases,
        "dimensions": None if entry.dimensions is None else list(entry.dimensions),
        "pure_epsilon_of_groups": [
            epsilon for times, epsilon in pure for _ in range(times)
        ],
        "pure_epsilon_of_participation": total,
    }


def format_report(report: dict[str, Any]) -> str:
    """Return a report as lines of text."""
    if not report["releases"]:
        return "No release was recorded: nothing is spent."
    lines = [
        f"Spent in {report['steps']:,} steps; {_NEIGHBORS[report['adjacency']]}.",
        f"Unit: {report['unit']}.",
    ]
    lines += [_step_line(release) for release in report["releases"]]
    label = f"epsilon at delta {report['delta']:g}"
    conjectured = "" if report["pld_proven"] else ", rests on a conjecture"
    lines += [
        f"{label}, Renyi: {_number(report['rdp_epsilon'])}",
        f"{label}, loss distribution: {_number(report['pld_epsilon'])}{conjectured}",
        f"pure epsilon: {_number(report['pure_epsilon'])}",
        f"epsilon per unit of chord: {_number(report['metric_epsilon'])}",
    ]
    lines += [f"Assumed: {text}." for text in report["assumptions"]]
    lines += [f"Not defined ({name}): {text}" for name, text in report["notes"].items()]
    return "\n".join(lines)


def _step_line(release: dict[str, Any]) -> str:
    drawn = "every example takes part in each"
    if release["rate"] is not None:
        drawn = f"Poisson batches at rate {release['rate']:.4g}"
    groups = release["pure_epsilon_of_groups"]
    total = release["pure_epsilon_of_participation"]
    cost = ""
    if math.isfinite(total):
        each = _number(groups[0]) if len(set(groups)) == 1 else "their own"
        cost = f"; pure epsilon of one participation {_number(total)}"
        if len(groups) > 1:
            cost += f" = {len(groups)} groups of {each}"
    return f"{release['name']}, {release['steps']:,} steps, {drawn}{cost}."


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:,.6g}"
