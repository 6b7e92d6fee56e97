"""What the catalogue says about one dataset."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Entry"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A dataset that has a name.

    Attributes
    ----------
    name : str
        The full name.
    kind : str
        ``"table"``, ``"images"`` or ``"table, images"``.
    task : str or None
        ``"classification"`` or ``"regression"``; None where the file says.
    source : str
        Who distributes it.
    license : str
        What is known about its licence.
    provider : str
        What to do when it is missing, as an imperative sentence.
    layouts : tuple of str
        Where it lies below a data root; the first that exists is taken.
    installed : tuple of str
        Where the package of an operating system puts it; looked at after the roots.
    package, package_file : str
        An installed package that ships it, and the file in that package.
    target : str
        The column to predict; empty where it is the last one.
    dropped : tuple of str
        Columns of the file that are neither features nor the target.
    note : str
        What a user must know before relying on it.
    sound : bool
        False where the values are known to be corrupted: not for claims of accuracy.
    """

    name: str
    kind: str = "table"
    task: str | None = "classification"
    source: str
    license: str
    provider: str
    layouts: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    package: str = ""
    package_file: str = ""
    target: str = ""
    dropped: tuple[str, ...] = ()
    note: str = ""
    sound: bool = True
