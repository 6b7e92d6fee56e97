"""Reproduction experiments: declared beforehand, run with a seed, judged by numbers.

A method declares its experiments in ``mlmethods/<method>/recipes.py``::

    @recipe(
        "rfm-lowrank",
        title="The matrix finds the coordinates that matter",
        claim="RFM recovers the support of a low-rank polynomial",
        source="Radhakrishnan et al. (2024), supplement",
        criterion="test error falls at least 2.5-fold",
    )
    def lowrank(context):
        "Fit 2,000 rows of 20 columns, of which three matter."
        ...
        context.check(claim=..., published=..., ours=..., tolerance_text=..., passed=...)
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlmethods.common import methods
from mlmethods.common.atomic import atomic_path, write_json
from mlmethods.common.machine import backend_devices, versions
from mlmethods.common.result import RESULT_FILE, Check, RecipeResult, read_result
from mlmethods.errors import ConfigError, DataFormatError, InvalidInputError
from mlmethods.interfaces import Callback, Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Recipe",
    "RecipeContext",
    "find_recipes",
    "list_recipes",
    "recipe",
    "run_recipe",
]

_registry: dict[str, Recipe] = {}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A registered experiment; the arguments of :func:`recipe` and its function."""

    name: str
    title: str
    claim: str
    source: str
    criterion: str
    function: Callable[[RecipeContext], None]
    demo: bool = False
    about: str = ""
    code: str = ""

    @property
    def experiment(self) -> str:
        """What is run: the first paragraph of the function's docstring."""
        paragraph = (inspect.getdoc(self.function) or "").partition("\n\n")[0]
        return " ".join(paragraph.split())


@dataclass(kw_only=True)
class RecipeContext:
    """What a recipe is given, and where it reports.

    Attributes
    ----------
    name : str
        Of the recipe.
    full : bool
        Whether the experiment runs at the paper's scale.
    seed : int
        For every random choice.
    backend : str or Backend
        To pass on as ``backend=``.
    dtype : str
        To pass on as ``dtype=``; a recipe that must compute in another precision
        sets it, and the result says so.
    out : pathlib.Path
        The folder of this recipe's files.
    data_root : pathlib.Path or None
        To pass on as ``root=`` of the dataset loaders.
    callback : Callback
        To pass on in ``callbacks=``.
    """

    name: str
    full: bool
    seed: int
    backend: Any
    dtype: str
    out: Path
    data_root: Path | None
    callback: Callback
    _rows: list[Check] = field(default_factory=list, repr=False)
    _values: dict[str, float] = field(default_factory=dict, repr=False)
    _figures: list[str] = field(default_factory=list, repr=False)
    _data: list[str] = field(default_factory=list, repr=False)
    _notes: list[str] = field(default_factory=list, repr=False)
    _started: float = field(default_factory=time.perf_counter, repr=False)

    def check(
        self,
        *,
        claim: str,
        published: float | str,
        ours: float | str,
        tolerance_text: str,
        passed: bool,
    ) -> None:
        """Add one row of the verdict.

        Parameters
        ----------
        claim : str
            What should hold.
        published, ours : float or str
            The published or peer number, and the one found now; floats are shown
            with four significant digits.
        tolerance_text : str
            What decides, such as ``"at least RF - 0.01"``.
        passed : bool
            Whether it holds.
        """
        row = Check(
            claim=claim,
            published=_shown(published),
            ours=_shown(ours),
            tolerance=tolerance_text,
            passed=bool(passed),
        )
        self._rows.append(row)

    def value(self, **numbers: float) -> None:
        """Record named numbers."""
        self._values.update({name: float(number) for name, number in numbers.items()})

    def figure(self, figure: Figure, name: str) -> None:
        """Save a figure as ``name.png`` and ``name.svg``."""
        from mlmethods.common.plotting import save_figure

        paths = save_figure(figure, self.out / _file_stem(name))
        self._figures.extend(path.name for path in paths)

    def table(self, frame: Any, name: str) -> None:
        """Save a pandas DataFrame as ``name.csv``; a nameless index is dropped."""
        path = self.out / f"{_file_stem(name)}.csv"
        with atomic_path(path) as scratch:
            frame.to_csv(scratch, index=any(frame.index.names))
        self._data.append(path.name)

    def note(self, text: str) -> None:
        """Add a sentence that a reader of the result should know."""
        self._notes.append(text)

    def progress(self, step: int, total: int | None = None, **metrics: Any) -> None:
        """Say that `step` of `total` parts are done, and what they measured."""
        self.callback(
            Event(
                kind="end" if step == total else "step",
                task=self.name,
                step=step,
                total=total,
                metrics=metrics,
                elapsed=time.perf_counter() - self._started,
            )
        )


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _file_stem(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidInputError(
            f"name must be a file name of letters, digits, '.', '_' and '-', got {name!r}"
        )
    return name


def recipe(
    name: str,
    *,
    title: str,
    claim: str,
    source: str,
    criterion: str,
    demo: bool = False,
    about: str = "",
    code: str = "",
) -> Callable[[Callable[[RecipeContext], None]], Callable[[RecipeContext], None]]:
    """Register the function below as an experiment.

    Parameters
    ----------
    name : str
        ``<method>-<experiment>``.
    title : str
        A headline in a few words.
    claim : str
        What the paper says.
    source : str
        Where it says so.
    criterion : str
        What must hold for the run to pass, fixed before it runs.
    demo : bool
        Whether the demo page shows it; the quick mode then takes some 15 seconds.
    about : str
        What the method is, in two sentences, for the demo page.
    code : str
        The lines of Python that do it, for the demo page.

    Raises
    ------
    ConfigError
        If the name is malformed or taken, or the function has no docstring: its
        first paragraph says what is run.
    """

    def register(
        function: Callable[[RecipeContext], None],
    ) -> Callable[[RecipeContext], None]:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name):
            raise ConfigError(
                f"a recipe is named <method>-<experiment> in lower case, got {name!r}"
            )
        entry = Recipe(
            name=name,
            title=title,
            claim=claim,
            source=source,
            criterion=criterion,
            function=function,
            demo=demo,
            about=about,
            code=inspect.cleandoc(code),
        )
        if not entry.experiment:
            raise ConfigError(f"the function of recipe {name!r} needs a docstring")
        taken = _registry.get(name)
        if taken is not None and taken.function.__module__ != function.__module__:
            raise ConfigError(
                f"recipe {name!r} is already defined in {taken.function.__module__}"
            )
        _registry[name] = entry
        return function

    return register


def list_recipes() -> list[Recipe]:
    """Return the recipes of every method, in the order of the methods' table."""
    order = {}
    for position, method in enumerate(methods.METHODS):
        order[method.name] = position
        module = f"{method.package}.recipes"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
    known = [entry for entry in _registry.values() if _method_of(entry) in order]
    # Stable: within a method, the order of definition.
    return sorted(known, key=lambda entry: order[_method_of(entry)])


def _method_of(entry: Recipe) -> str:
    return entry.name.partition("-")[0]


def find_recipes(name: str) -> list[Recipe]:
    """Return the recipe called `name`, or every recipe of the method called `name`.

    Raises
    ------
    InvalidInputError
        If there is none; the message suggests the closest.
    """
    known = list_recipes()
    found = [entry for entry in known if name in (entry.name, _method_of(entry))]
    if found:
        return found
    names = sorted({entry.name for entry in known} | {_method_of(e) for e in known})
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
    raise InvalidInputError(f"no recipe or method is called {name!r}; {hint}")


def _ignore(event: Event, /) -> None:
    """Receive events that nobody watches."""


def run_recipe(
    name: str | Recipe,
    *,
    out: str | Path,
    full: bool = False,
    seed: int = 0,
    backend: Any = "auto",
    dtype: str = "auto",
    data_root: str | Path | None = None,
    callback: Callback = _ignore,
) -> RecipeResult:
    """Run one experiment and write ``result.json`` with its figures and tables.

    Parameters
    ----------
    name : str or Recipe
        The experiment.
    out : path-like
        Its files go to the folder ``out/<name>``. A second run replaces them.
    full : bool
        Run at the paper's scale; the default takes at most three minutes.
    seed : int
        For every random choice.
    backend, dtype : str
        Passed to what the recipe calls.
    data_root : path-like or None
        Where datasets are looked for first.
    callback : Callback
        Receives progress.

    Raises
    ------
    DatasetNotFoundError
        If the data it needs is not on this machine.
    ConfigError
        If the recipe made no check: such a run shows nothing.
    """
    entry = name if isinstance(name, Recipe) else _one_recipe(name)
    if isinstance(backend, str):
        chosen = importlib.import_module("mlmethods.backend").get_backend(backend)
        backend = chosen.info.name
    else:
        chosen = backend
    folder = Path(out) / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    _remove_earlier(folder)
    context = RecipeContext(
        name=entry.name,
        full=full,
        seed=seed,
        backend=backend,
        dtype=dtype,
        out=folder,
        data_root=Path(data_root) if data_root is not None else None,
        callback=callback,
    )
    start = time.perf_counter()
    entry.function(context)
    seconds = time.perf_counter() - start
    if not context._rows:
        raise ConfigError(f"recipe {entry.name!r} ended without a check")
    auto = context.dtype == "auto"
    result = RecipeResult(
        name=entry.name,
        title=entry.title,
        claim=entry.claim,
        source=entry.source,
        criterion=entry.criterion,
        experiment=entry.experiment,
        mode="full" if full else "quick",
        seed=seed,
        values=context._values,
        passed=all(row.passed for row in context._rows),
        seconds=seconds,
        versions=versions(),
        backend=chosen.info.name,
        device=backend_devices(chosen)[0],
        dtype=chosen.info.default_dtype if auto else context.dtype,
        rows=tuple(context._rows),
        figures=tuple(context._figures),
        data=tuple(context._data),
        notes=tuple(context._notes),
    )
    write_json(folder / RESULT_FILE, result.to_dict())
    return result


def _one_recipe(name: str) -> Recipe:
    found = find_recipes(name)
    if found[0].name != name:
        raise InvalidInputError(
            f"{name!r} is a method; name one of its recipes: "
            f"{', '.join(entry.name for entry in found)}"
        )
    return found[0]


def _remove_earlier(folder: Path) -> None:
    """Remove what an earlier run says it wrote, the result first."""
    path = folder / RESULT_FILE
    if not path.exists():
        return
    try:
        earlier = read_result(path)
    except DataFormatError:
        path.unlink()
        return
    path.unlink()
    for name in (*earlier.figures, *earlier.data):
        (folder / Path(name).name).unlink(missing_ok=True)
