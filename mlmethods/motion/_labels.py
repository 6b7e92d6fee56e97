"""Names of classes and sides, as files spell them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from mlmethods.errors import DataFormatError
from mlmethods.motion.recording import Side

__all__ = [
    "PRIMITIVES",
    "canonical",
    "classes_of",
    "label_ids",
    "parse_side",
    "unknown_label",
]

PRIMITIVES = ("idle", "reach", "reposition", "stabilize", "transport")
"""Classes of StrokeRehab."""

_ALIASES = {"rest": "idle", "retract": "reposition"}
_SIDES: dict[str, Side] = {
    **dict.fromkeys(("l", "lt", "left", "links"), "left"),
    **dict.fromkeys(("r", "rt", "right", "rechts"), "right"),
}


def classes_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the classes that a set of labels belongs to, in their order.

    Those of StrokeRehab if they hold all labels, else the labels in alphabetical order.
    """
    found = set(names)
    lower = {_ALIASES.get(name.lower(), name.lower()) for name in found}
    return PRIMITIVES if lower <= set(PRIMITIVES) else tuple(sorted(found))


def canonical(name: str, classes: Sequence[str]) -> str | None:
    """Return the class that a label means, or None if it is not among them."""
    for candidate in (name, name.lower(), _ALIASES.get(name.lower(), name)):
        if candidate in classes:
            return candidate
    return None


def label_ids(names: Iterable[str], classes: Sequence[str]) -> dict[str, int | None]:
    """Return the class id of each label, None for one that is no class."""
    found = {name: canonical(name, classes) for name in names}
    return {
        name: None if match is None else list(classes).index(match)
        for name, match in found.items()
    }


def unknown_label(where: str, name: str, classes: Sequence[str]) -> DataFormatError:
    """Return the error of a label that is no class, with the nearest ones."""
    close = difflib.get_close_matches(name, list(classes), n=2) or list(classes)[:8]
    return DataFormatError(
        f"{where}: {name!r} is no label; the nearest known ones are "
        f"{', '.join(map(repr, close))}"
    )


def parse_side(text: str) -> Side | None:
    """Return the side that a text names, or None."""
    return _SIDES.get(text.strip().lower())
