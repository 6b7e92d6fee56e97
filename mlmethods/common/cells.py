"""A sweep that can be interrupted: every finished cell is a file."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.common.atomic import atomic_path
from mlmethods.common.json_values import to_json
from mlmethods.errors import InvalidInputError, MLMethodsWarning

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CellStore"]

_METADATA = b"mlmethods.cell"


class CellStore:
    """The results of a sweep on disk, one Parquet file a cell.

    A cell is named by a hash of the settings of the sweep and of its own, so that a
    sweep with other settings never takes a result for its own. Cells may be written by
    several processes at once.

    Parameters
    ----------
    directory : path-like
        Where the files are; it is made when the first cell is written.
    config : mapping
        What all cells share: numbers, strings, and lists or mappings of them. Put in
        whatever changes a result.

    Raises
    ------
    InvalidInputError
        If `config` holds what cannot be written as JSON.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from mlmethods.common.cells import CellStore
    >>> store = CellStore(tempfile.mkdtemp(), {"seed": 0})
    >>> def run():
    ...     print("computed")
    ...     return pd.DataFrame({"accuracy": [0.9]})
    >>> _ = store.compute(run, dataset="iris", fold=0)
    computed
    >>> float(store.compute(run, dataset="iris", fold=0)["accuracy"].iloc[0])
    0.9
    """

    def __init__(
        self, directory: str | os.PathLike[str], config: Mapping[str, Any]
    ) -> None:
        self.directory = Path(directory)
        self.config = dict(config)
        self._document({})

    def path(self, **cell: Any) -> Path:
        """Return where a cell is, or would be."""
        digest = hashlib.sha256(self._document(cell)).hexdigest()
        return self.directory / f"{digest[:32]}.parquet"

    def get(self, **cell: Any) -> pd.DataFrame | None:
        """Return a finished cell; None if there is none.

        A file that is damaged, or of another cell, counts as none, with a warning.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(**cell)
        if not path.exists():
            return None
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            _ignore(path, f"is damaged: {str(error).splitlines()[0]}")
            return None
        if (table.schema.metadata or {}).get(_METADATA) != self._document(cell):
            _ignore(path, "holds another cell")
            return None
        return table.to_pandas()

    def put(self, frame: pd.DataFrame, **cell: Any) -> None:
        """Write a finished cell; its index is not kept.

        Raises
        ------
        InvalidInputError
            If a column cannot be stored.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"frame must have columns that Parquet can store: {error}"
            ) from error
        metadata = {**(table.schema.metadata or {}), _METADATA: self._document(cell)}
        with atomic_path(self.path(**cell)) as scratch:
            pq.write_table(table.replace_schema_metadata(metadata), scratch)

    def compute(
        self, function: Callable[[], pd.DataFrame], **cell: Any
    ) -> pd.DataFrame:
        """Return a cell, which `function` computes unless it is there already."""
        found = self.get(**cell)
        if found is None:
            found = function()
            self.put(found, **cell)
        return found

    def _document(self, cell: Mapping[str, Any]) -> bytes:
        values = to_json("config", {"config": self.config, "cell": dict(cell)})
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return text.encode()


def _ignore(path: Path, reason: str) -> None:
    warnings.warn(
        f"{path} {reason}; the cell is computed again", MLMethodsWarning, stacklevel=4
    )
