"""Writing results: JSON for machines, a table for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.harness.case import size_label
from benchmarks.harness.plot import plot_ratios, plot_scaling

__all__ = ["write_report"]


def write_report(results: dict[str, Any], out: Path) -> list[Path]:
    """Write ``results.json``, ``ratios.md``, ``ratios.svg`` and ``scaling.svg``."""
    from mlmethods.common.atomic import write_json, write_text

    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("results.json", "ratios.md")]
    write_json(paths[0], results)
    write_text(paths[1], markdown(results))
    return [
        *paths,
        plot_ratios(results, out / "ratios.svg"),
        plot_scaling(results, out / "scaling.svg"),
    ]


def markdown(results: dict[str, Any]) -> str:
    """Return the tables of a run, losses beside wins."""
    machine = results["machine"]
    probe = results["probe"]
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    lines = [
        "# Benchmark results",
        "",
        f"{machine['processor']}, {machine['cores']} core(s) used, "
        f"{results['threads']} thread(s), load {machine['load']} at the start. "
        f"Matrix product {probe['gemm_float32_gflops']} GFLOP/s in float32, "
        f"{probe['gemm_float64_gflops']} in float64; copy "
        f"{probe['copy_gbytes_per_s']} GB/s. {versions}. Seed {results['seed']}"
        f"{', quick sizes' if results['quick'] else ''}.",
        "",
        "Seconds are medians of warm rounds (quartiles in brackets); *first* is the "
        "first call, compilation included. A ratio is our processor time over that of "
        "the row, the median of paired rounds with its 95 % interval: below 1 we are "
        "faster.",
    ]
    for case in results["cases"]:
        lines += ["", f"## {case['name']}: {case['title']}", ""]
        lines += [
            "| size | implementation | wall s | cpu s | first s | ratio cpu | "
            "ratio wall | peak MiB | error |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for entry in case["sizes"]:
            label = size_label(entry["size"])
            for name, row in entry["implementations"].items():
                lines.append(_row(label, name, row))
        for name, fitted in case["growth"].items():
            shown = "; ".join(f"{k or 'all'}: {v:.2f}" for k, v in fitted.items())
            lines += ["", f"Time of {name} grows as n to the power {shown}."]
    if results["verdicts"]:
        lines += ["", "## Targets", "", *_verdicts(results["verdicts"])]
    return "\n".join(lines) + "\n"


def _row(label: str, name: str, row: dict[str, Any]) -> str:
    if "wall" not in row:
        reason = row["reason"].replace("|", "/").replace("\n", " ")
        return f"| {label} | {name} | {row['status']}: {reason} | | | | | | |"
    cells = [label, name]
    for clock in ("wall", "cpu"):
        low, high = row[clock]["iqr"]
        cells.append(f"{row[clock]['median']:.4g} [{low:.4g}, {high:.4g}]")
    cells.append(f"{row['wall']['first_call']:.4g}")
    for clock in ("cpu", "wall"):
        cells.append(_interval(row.get("ratio", {}).get(clock)))
    if row["status"] == "disagrees":
        cells[-2] = "void: the outputs disagree"
    peak = (row.get("memory") or {}).get("peak")
    cells.append(f"{peak / 2**20:.0f}" if peak else "")
    cells.append("" if row["error"] is None else f"{row['error']:.1e}")
    return f"| {' | '.join(cells)} |"


def _interval(ratio: list[float] | None) -> str:
    if ratio is None:
        return ""
    median, low, high = ratio
    return f"{median:.2f}" if low == high else f"{median:.2f} [{low:.2f}, {high:.2f}]"


def _verdicts(verdicts: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| case | size | peer | clock | target | measured | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in verdicts:
        lines.append(
            f"| {row['case']} | {size_label(row['size'])} | {row['peer']} | "
            f"{row['clock']} | <= {row['ratio']} | {_interval(row['measured'])} | "
            f"{row['verdict']} |"
        )
    return lines
