"""What a study leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.common.atomic import atomic_directory, write_json
from mlmethods.errors import CheckpointError, InvalidInputError
from mlmethods.overfitting.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["StudyResult"]

_TABLE, _DOCUMENT = "table.parquet", "study.json"
_FORMAT = "mlmethods-study"


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyResult:
    """The runs of a study and the verdict on them.

    Attributes
    ----------
    table : DataFrame
        One row a run, with the columns n, seed, noise, risk, train_error,
        interpolates, resolved, cond, seconds, and possibly more.
    verdict : Verdict or dict of str to Verdict
        The verdict; one for each of several ways to train where a study has them.
    settings : dict
        What was studied: numbers, strings, lists and mappings of them.
    complete : bool
        False where a limit of time left runs out.
    """

    table: pd.DataFrame
    verdict: Verdict | dict[str, Verdict]
    settings: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    def plot(self, name: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the cost of noise over n, or the noise profile for classification.

        Parameters
        ----------
        name : str, optional
            Which verdict to draw where there are several; the first by default.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InvalidInputError
            If there is no verdict of that name, or no run to draw.
        """
        verdict, table = self._named(name)
        if table.empty:
            raise InvalidInputError("the study has no runs to draw")
        from mlmethods.overfitting import plots

        if verdict.task == "regression":
            return plots.plot_cost(verdict.e0, ax=ax)
        from mlmethods.overfitting.profile import profile_of_study

        return plots.plot_noise_profile(profile_of_study(table, verdict), ax=ax)

    def _named(self, name: str | None) -> tuple[Verdict, pd.DataFrame]:
        if isinstance(self.verdict, Verdict):
            if name is not None:
                raise InvalidInputError(
                    f"name must be None for a study with one verdict, got {name!r}"
                )
            return self.verdict, self.table
        names = list(self.verdict)
        name = names[0] if name is None else name
        if name not in self.verdict:
            raise InvalidInputError(f"name must be one of {names}, got {name!r}")
        table = self.table
        if "stop" in table:
            table = table[table["stop"] == name]
        return self.verdict[name], table

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the table as Parquet and the rest as JSON, atomically.

        Parameters
        ----------
        directory : path-like
            A folder there must be empty or an earlier result, which is replaced.

        Raises
        ------
        CheckpointError
            If something else is in the way; nothing is changed.
        """
        directory = Path(directory)
        if directory.exists():
            if not directory.is_dir():
                raise CheckpointError(f"{directory} is a file; give a folder")
            foreign = {path.name for path in directory.iterdir()}
            foreign -= {_TABLE, _DOCUMENT}
            if foreign:
                raise CheckpointError(
                    f"{directory} holds other files ({min(foreign)!r} among them) and "
                    "is not replaced; give a new or an empty folder"
                )
        several = not isinstance(self.verdict, Verdict)
        verdicts = self.verdict if isinstance(self.verdict, Mapping) else {}
        document = {
            "format": _FORMAT,
            "format_version": 1,
            "complete": self.complete,
            "settings": self.settings,
            "verdict": None
            if isinstance(self.verdict, Mapping)
            else self.verdict.to_dict(),
            "verdicts": {k: v.to_dict() for k, v in verdicts.items()}
            if several
            else None,
        }
        with atomic_directory(directory) as scratch:
            self.table.to_parquet(scratch / _TABLE, index=False)
            write_json(scratch / _DOCUMENT, document)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> StudyResult:
        """Return the result that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If a file is missing or damaged.
        """
        import pandas as pd

        directory = Path(directory)
        try:
            document = json.loads((directory / _DOCUMENT).read_text(encoding="utf-8"))
            if document.get("format") != _FORMAT or document["format_version"] != 1:
                raise CheckpointError(f"{directory} holds no study of this version")
            verdict: Any
            if document["verdict"] is not None:
                verdict = Verdict.from_dict(document["verdict"])
            else:
                stored = document["verdicts"].items()
                verdict = {name: Verdict.from_dict(value) for name, value in stored}
            table = pd.read_parquet(directory / _TABLE)
            return cls(
                table=table,
                verdict=verdict,
                settings=document["settings"],
                complete=document["complete"],
            )
        except FileNotFoundError as error:
            raise CheckpointError(f"{error.filename} is missing") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{directory} is damaged: {error}") from error
