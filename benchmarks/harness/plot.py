"""Figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.harness.case import size_label

__all__ = ["plot_ratios", "plot_scaling"]


def _save(figure: Any, path: Path) -> Path:
    from mlmethods.common.atomic import atomic_path

    with atomic_path(path) as scratch:
        figure.savefig(scratch, facecolor="white", metadata={"Date": None})
    return path


def plot_ratios(results: dict[str, Any], path: Path) -> Path:
    """Draw each paired ratio with its interval, and the targets."""
    from mlmethods.common.plotting import MUTED, PALETTE, new_figure, style

    rows = [
        (
            f"{case['name']}  {size_label(entry['size'])}  vs {name}",
            *row["ratio"]["cpu"],
        )
        for case in results["cases"]
        for entry in case["sizes"]
        for name, row in entry["implementations"].items()
        if "ratio" in row
    ]
    with style():
        figure, axes = new_figure(size=(8.5, 1.2 + 0.28 * max(len(rows), 1)))
        for index, (_, median, low, high) in enumerate(rows):
            color = PALETTE[0] if median <= 1 else PALETTE[1]
            axes.plot([low, high], [index, index], color=color)
            axes.plot([median], [index], "o", color=color)
        axes.axvline(1, color=MUTED, linewidth=1)
        if rows:
            axes.set_xscale("log")
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("our processor time / theirs (left of 1: we are faster)")
        return _save(figure, path)


def plot_scaling(results: dict[str, Any], path: Path) -> Path:
    """Draw seconds over the size of each case, on logarithmic axes."""
    from mlmethods.common.plotting import PALETTE, new_figure, style

    cases = results["cases"]
    columns = min(3, max(len(cases), 1))
    rows = -(-max(len(cases), 1) // columns)
    with style():
        figure, grid = new_figure(rows, columns, size=(4.2 * columns, 3.4 * rows))
        panels = list(getattr(grid, "flat", [grid]))
        for panel in panels[len(cases) :]:
            panel.set_axis_off()
        for panel, case in zip(panels, cases, strict=False):
            names = list(case["sizes"][0]["implementations"])
            axis = _axis([entry["size"] for entry in case["sizes"]])
            for index, name in enumerate(names):
                points = sorted(
                    (entry["size"][axis], row["wall"]["median"])
                    for entry in case["sizes"]
                    if "wall" in (row := entry["implementations"][name])
                )
                if points:
                    color = PALETTE[index % len(PALETTE)]
                    panel.loglog(
                        *zip(*points, strict=True), "o", color=color, label=name
                    )
            panel.set_title(case["name"])
            panel.set_xlabel(axis)
            panel.set_ylabel("seconds (wall)")
            if panel.lines:
                panel.legend()
        return _save(figure, path)


def _axis(sizes: list[dict[str, int]]) -> str:
    """Return the part of the sizes to draw seconds over: n, or the first that varies."""
    names = sorted(sizes[0], key=lambda name: name != "n")
    varying = [name for name in names if len({size[name] for size in sizes}) > 1]
    return (varying or names)[0]
