"""What a pipeline learned from patients with known counts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.atomic import write_json
from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.calibration import Temperature
from mlmethods.motion.intervals import (
    ConformalQuantile,
    conformal_quantile,
    count_residuals,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CountCalibration", "hits"]

_SCHEMA = "mlmethods.motion.calibration/1"
_COLUMNS = ("subject", "session", "activity", "side", "class", "true", "predicted")


@dataclass(frozen=True, eq=False)
class CountCalibration:
    """Counts of patients who were labeled, and how sure the model was.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes.
    temperature : Temperature
        For the confidence of tokens.
    miss_rate : dict of str to float
        Share of the true motions of each class that were not found; a count of one is
        added to both sides, so that few motions do not say 0.
    counts : tuple of tuple
        Rows (subject, session, activity, side, class, true, predicted), one for each
        recording and class.
    provenance : dict
        What was calibrated, and when.
    """

    classes: tuple[str, ...]
    temperature: Temperature = field(default_factory=Temperature)
    miss_rate: Mapping[str, float] = field(default_factory=dict)
    counts: tuple[tuple[Any, ...], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_patients(self) -> int:
        """Patients."""
        return len({row[0] for row in self.counts})

    def to_dataframe(self) -> pd.DataFrame:
        """Return the counts, one row for each recording and class."""
        import pandas as pd

        return pd.DataFrame(list(self.counts), columns=list(_COLUMNS))

    def quantile(
        self, label: str, by: Sequence[str], *, level: float = 0.9
    ) -> ConformalQuantile:
        """Return the conformal quantile of counts that are added up over `by`.

        Parameters
        ----------
        label : str
            Name of a class.
        by : sequence of str
            Of ``"subject"``, ``"session"``, ``"activity"`` and ``"side"``: calibration
            adds up over the others as the counts do that it is for.
        level : float
            In (0, 1).

        Raises
        ------
        InvalidInputError
            If the class is unknown.

        Examples
        --------
        >>> from mlmethods.motion import CountCalibration
        >>> rows = [(f"p{i}", None, None, None, "reach", 20, 20 - i) for i in range(9)]
        >>> known = CountCalibration(("reach",), counts=tuple(rows))
        >>> known.quantile("reach", ["subject"]).value.__round__(3)
        0.667
        """
        table = self.to_dataframe()
        rows = table[table["class"] == label]
        if rows.empty:
            raise InvalidInputError(
                f"label must be among {', '.join(map(repr, self.classes))}, got "
                f"{label!r}"
            )
        keys = list(dict.fromkeys(["subject", *by]))
        added = rows.groupby(keys, dropna=False, sort=True)[["true", "predicted"]].sum()
        patients = added.index.get_level_values("subject").to_numpy(dtype=str)
        residuals = count_residuals(added["true"], added["predicted"])
        return conformal_quantile(residuals, patients, level=level)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        temperature = {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in self.temperature._asdict().items()
        }
        content = asdict(self)
        content["temperature"] = temperature
        content["classes"] = list(self.classes)
        content["counts"] = [list(row) for row in self.counts]
        content["miss_rate"] = dict(self.miss_rate)
        content["provenance"] = dict(self.provenance)
        return {"schema": _SCHEMA, **content}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> CountCalibration:
        """Return what :meth:`to_dict` described.

        Raises
        ------
        DataFormatError
            If it is no calibration of this version.
        """
        try:
            if document["schema"] != _SCHEMA:
                raise DataFormatError(
                    f"a calibration must have the schema {_SCHEMA!r}, got "
                    f"{document['schema']!r}"
                )
            known: dict[str, Any] = {
                name: float("nan") if value is None else value
                for name, value in document["temperature"].items()
            }
            counts = tuple(tuple(row) for row in document["counts"])
            if any(len(row) != len(_COLUMNS) for row in counts):
                raise DataFormatError(
                    f"counts of a calibration must have {len(_COLUMNS)} columns"
                )
            return cls(
                classes=tuple(document["classes"]),
                temperature=Temperature(**known),
                miss_rate={k: float(v) for k, v in document["miss_rate"].items()},
                counts=counts,
                provenance=dict(document["provenance"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataFormatError(f"this is no calibration: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, atomically."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CountCalibration:
        """Read a file of :meth:`save`.

        Raises
        ------
        DataFormatError
            If the file is no calibration; the message names it.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataFormatError(f"{os.fspath(path)}: not JSON: {error}") from error
        try:
            return cls.from_dict(document)
        except DataFormatError as error:
            raise DataFormatError(f"{os.fspath(path)}: {error}") from error


def hits(truth: Sequence[int], found: Sequence[int]) -> tuple[NDArray, NDArray]:
    """Return which true and which found tokens stand for each other.

    Tokens are matched by the alignment of the metrics, with the fewest edits.

    Parameters
    ----------
    truth, found : sequences of int
        Class ids.

    Returns
    -------
    known, right : bool ndarray
        Whether each true token was found, and whether each found one is right.

    Examples
    --------
    >>> from mlmethods.motion.count_calibration import hits
    >>> known, right = hits([0, 1, 2, 1], [0, 2, 2, 1])
    >>> known.tolist(), right.tolist()
    ([True, False, True, True], [True, False, True, True])
    """
    from mlmethods.motion.metrics import align_pairs

    known = np.zeros(len(truth), bool)
    right = np.zeros(len(found), bool)
    own, other = align_pairs(list(truth), list(found), collapse_repeats=False)
    both = (own >= 0) & (other >= 0)
    own, other = own[both], other[both]
    equal = np.asarray(truth)[own] == np.asarray(found)[other]
    known[own[equal]] = True
    right[other[equal]] = True
    return known, right
