"""Tables for the estimators: reading, choosing columns, standardizing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.errors import CheckpointError, DataFormatError, InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Columns", "guess_task", "read_table", "target_of"]

_CLASSES = 20


def read_table(path: Path, index: str | None = None) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet file.

    Parameters
    ----------
    path : pathlib.Path
        The suffix says the format.
    index : str or None
        Column that names the rows and is not a feature.

    Raises
    ------
    DataFormatError
        If the file is not a table of its format.
    InvalidInputError
        If the suffix or the column is unknown.
    """
    import pandas as pd

    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            frame = pd.read_csv(path, sep="\t" if suffix == ".tsv" else ",")
        elif suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            raise InvalidInputError(
                f"TABLE must end in .csv, .tsv or .parquet, got {path.name!r}"
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise DataFormatError(f"{path} is not a readable table: {error}") from error
    except ValueError as error:
        if isinstance(error, InvalidInputError):
            raise
        raise DataFormatError(f"{path} is not a readable table: {error}") from error
    frame.columns = frame.columns.map(str)
    if index is None:
        return frame
    _require_columns(frame, [index], path)
    return frame.set_index(index)


def _require_columns(frame: pd.DataFrame, names: list[str], where: Path) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise InvalidInputError(
            f"{where} lacks the columns {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, frame.columns))}"
        )


def target_of(frame: pd.DataFrame, target: str, where: Path) -> pd.Series:
    """Return the target column, which must have no missing value."""
    _require_columns(frame, [target], where)
    series = frame[target]
    if series.isna().any():
        raise InvalidInputError(
            f"the target {target!r} is missing in {int(series.isna().sum())} rows of "
            f"{where}; remove them first"
        )
    return series


def guess_task(target: pd.Series) -> str:
    """Return ``"regression"`` or ``"classification"`` from the target's values.

    Text, booleans and integers of at most 20 different values are classes.
    """
    import pandas as pd

    types = pd.api.types
    few = target.nunique() <= _CLASSES
    if types.is_bool_dtype(target) or not types.is_numeric_dtype(target):
        return "classification"
    return "classification" if types.is_integer_dtype(target) and few else "regression"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How the columns of a table become the features of a model.

    Attributes
    ----------
    names : list of str
        The features, in order.
    mean, scale : list of float
        Subtracted from each column, then divided by.
    target : str
        The column that is predicted.
    task : str
        ``"regression"`` or ``"classification"``.
    """

    names: list[str]
    mean: list[float]
    scale: list[float]
    target: str
    task: str

    @classmethod
    def learn(
        cls,
        frame: pd.DataFrame,
        *,
        target: str,
        task: str,
        drop: list[str],
        standardize: bool,
        where: Path,
    ) -> Columns:
        """Return the features of a training table and their scales."""
        import numpy as np

        _require_columns(frame, drop, where)
        names = [name for name in frame.columns if name not in (target, *drop)]
        if not names:
            raise InvalidInputError(f"{where} has no column besides the target")
        values = _numbers(frame, names, where)
        mean, scale = np.zeros(len(names)), np.ones(len(names))
        if standardize:
            mean, scale = values.mean(axis=0), values.std(axis=0)
            scale[scale == 0] = 1.0
        return cls(
            names=names,
            mean=mean.tolist(),
            scale=scale.tolist(),
            target=target,
            task=task,
        )

    def features(self, frame: pd.DataFrame, where: Path) -> pd.DataFrame:
        """Return the features of a table, in the order and scale of training."""
        import numpy as np
        import pandas as pd

        _require_columns(frame, self.names, where)
        values = _numbers(frame, self.names, where)
        scaled = (values - np.asarray(self.mean)) / np.asarray(self.scale)
        return pd.DataFrame(scaled, columns=self.names, index=frame.index)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file that :meth:`read` reads."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> Columns:
        """Read the columns that a model was fitted on."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise CheckpointError(
                f"{path.parent} was not written by 'mlmethods rfm fit': it has no "
                f"{path.name}"
            ) from None
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error


def _numbers(frame: pd.DataFrame, names: list[str], where: Path) -> np.ndarray:
    """Return columns as float64, or say which cannot be used and what to do."""
    import numpy as np
    import pandas as pd

    for name in names:
        column = frame[name]
        if not pd.api.types.is_numeric_dtype(column):
            raise InvalidInputError(
                f"column {name!r} of {where} holds {column.dtype}, not numbers; leave "
                f"it out with --drop {name}, or encode it in Python with scikit-learn's "
                "ColumnTransformer"
            )
        if column.isna().any():
            raise InvalidInputError(
                f"column {name!r} of {where} lacks {int(column.isna().sum())} values; "
                "fill or remove them first"
            )
    return frame[names].to_numpy(dtype=np.float64)
