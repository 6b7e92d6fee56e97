"""The result of a reproduction experiment, in memory and as ``result.json``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlmethods.common.json_values import from_json, to_json
from mlmethods.errors import DataFormatError

__all__ = ["RESULT_FILE", "Check", "RecipeResult", "read_result"]

RESULT_FILE = "result.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Check:
    """One claim beside the number that this run found.

    Attributes
    ----------
    claim : str
        What should hold.
    published : str
        The published or peer number, in words.
    ours : str
        The number of this run, in words.
    tolerance : str
        What decides.
    passed : bool
        Whether it holds.
    """

    claim: str
    published: str
    ours: str
    tolerance: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class RecipeResult:
    """What one run of a recipe found; ``result.json`` has the same fields.

    Attributes
    ----------
    name, title, claim, source, criterion, experiment : str
        What was declared.
    mode : str
        ``"quick"`` or ``"full"``.
    seed : int
        Of every random choice.
    values : dict of str to float
        Named numbers, for programs that follow them over time.
    passed : bool
        Whether every row passed.
    seconds : float
        Wall-clock time.
    versions : dict of str to str
        Versions of what computed.
    backend, device, dtype : str
        Where and in which precision it ran.
    rows : tuple of Check
        Claim by claim.
    figures, data : tuple of str
        File names beside ``result.json``.
    notes : tuple of str
        What a reader should know.
    """

    name: str
    title: str
    claim: str
    source: str
    criterion: str
    experiment: str
    mode: str
    seed: int
    values: dict[str, float]
    passed: bool
    seconds: float
    versions: dict[str, str]
    backend: str
    device: str
    dtype: str
    rows: tuple[Check, ...]
    figures: tuple[str, ...]
    data: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``result.json``."""
        document = dataclasses.asdict(self)
        for name in _SEQUENCES:
            document[name] = list(document[name])
        document["values"] = to_json("values", self.values)
        return {"schema": SCHEMA, **document}


_SEQUENCES = ("rows", "figures", "data", "notes")


def read_result(path: str | Path) -> RecipeResult:
    """Read a ``result.json``.

    Raises
    ------
    DataFormatError
        If it is not one, or one of another schema.
    """
    try:
        document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        schema = document.pop("schema")
        document["rows"] = [Check(**row) for row in document["rows"]]
        document["values"] = from_json(document["values"])
        document.update({name: tuple(document[name]) for name in _SEQUENCES})
        result = RecipeResult(**document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataFormatError(
            f"{path} is not the result of a recipe: {error}"
        ) from error
    if schema != SCHEMA:
        raise DataFormatError(
            f"{path} has schema {schema}, this version reads {SCHEMA}"
        )
    return result
