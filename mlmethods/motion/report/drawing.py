"""Where the marks of a report's figures go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlmethods.common.plotting import PALETTE

__all__ = ["Bar", "Mark", "Strip", "bar_groups", "color_of", "strips"]

# Drawing units: the browser scales them to the width of the page.
LANE = 16.0
LEFT = 92.0
WIDTH = 1000.0
_TOP = 4.0
_INSIDE = WIDTH - LEFT
_FAINTEST = 0.35


class Mark(NamedTuple):
    """A span in a strip: its place, color and what it says."""

    x: float
    y: float
    width: float
    height: float
    color: str
    opacity: float
    text: str


class Strip(NamedTuple):
    """A stretch of a timeline.

    Attributes
    ----------
    lanes : list of (float, str)
        Height of the middle of each lane, and its class.
    marks : list of Mark
        What was found.
    truth : list of Mark
        What was labeled.
    masked : list of (float, float, str)
        Left edge, width and text of time without a usable signal.
    ticks : list of (float, str)
        Places and times of the axis.
    height : float
        Of all of it.
    """

    lanes: list[tuple[float, str]]
    marks: list[Mark]
    truth: list[Mark]
    masked: list[tuple[float, float, str]]
    ticks: list[tuple[float, str]]
    height: float


class Bar(NamedTuple):
    """A bar of counts: its length, whiskers and what stands behind them."""

    y: float
    width: float
    low: float | None
    high: float | None
    end: float
    color: str
    name: str
    text: str


def color_of(index: int) -> str:
    """Return the color of a class."""
    return PALETTE[index % len(PALETTE)]


def strips(recording: Mapping[str, Any], classes: Sequence[str]) -> list[Strip]:
    """Return the timeline of a recording, cut into stretches of equal length.

    Each class has a lane of its own, so that nothing depends on colors.

    Parameters
    ----------
    recording : mapping
        As in the document of a report.
    classes : sequence of str
        Names in the order of the lanes.
    """
    duration = float(recording["duration"])
    span = 60.0 if duration <= 300 else 120.0
    # Several strips have one scale; a single one may be shorter.
    span = span if duration > span else duration
    count = max(math.ceil(duration / span - 1e-9), 1)
    found = _by_strip(recording["segments"], span, count)
    known = _by_strip(recording["labels"] or [], span, count)
    masked = _by_strip(
        [{"start": a, "end": b} for a, b in recording["masked"]], span, count
    )
    lane = {name: index for index, name in enumerate(classes)}
    return [
        _strip(
            k * span,
            span,
            (found[k], known[k], masked[k]),
            lane,
            recording,
        )
        for k in range(count)
    ]


def _by_strip(
    spans: Sequence[Mapping[str, Any]], span: float, count: int
) -> list[list[Mapping[str, Any]]]:
    """Return the spans that each stretch shows a part of."""
    parts: list[list[Mapping[str, Any]]] = [[] for _ in range(count)]
    for one in spans:
        first = min(int(one["start"] / span), count - 1)
        last = min(max(math.ceil(one["end"] / span - 1e-9) - 1, first), count - 1)
        for k in range(first, last + 1):
            parts[k].append(one)
    return parts


def _strip(
    begin: float,
    span: float,
    parts: tuple[Sequence[Mapping[str, Any]], ...],
    lane: Mapping[str, int],
    recording: Mapping[str, Any],
) -> Strip:
    found, known, masked = parts
    offset, labeled = float(recording["offset"]), recording["labels"] is not None
    end = min(begin + span, float(recording["duration"]))
    scale = _INSIDE / span
    height = LANE * len(lane)

    def place(one: Mapping[str, Any]) -> tuple[float, float]:
        a, b = max(one["start"], begin), min(one["end"], begin + span)
        return LEFT + (a - begin) * scale, max((b - a) * scale, 0.6)

    def mark(one: Mapping[str, Any], top: float, tall: float, what: str) -> Mark:
        index = lane[one["label"]]
        x, width = place(one)
        sure = one["confidence"]
        opacity = 1.0 if sure is None else _FAINTEST + (1 - _FAINTEST) * sure
        text = f"{what}{one['label']}, {_span_text(one, offset)}"
        if sure is not None:
            text += f", confidence {sure:.2f}"
        if not one["valid"]:
            text += ", overlaps masked time"
        y = _TOP + index * LANE + top
        return Mark(x, y, width, tall, color_of(index), opacity, text)

    tall = 7.5 if labeled else 12.0
    shown = [one for one in known if one["label"] in lane]
    ticks = [
        (LEFT + (t - begin) * scale, f"{t + offset:g} s")
        for t in _tick_times(begin, span)
        if t <= end + 1e-6
    ]
    return Strip(
        lanes=[(_TOP + (i + 0.5) * LANE, name) for name, i in lane.items()],
        marks=[mark(one, 2.0, tall, "") for one in found],
        truth=[mark(one, 10.5, 3.0, "label: ") for one in shown],
        masked=[(*place(one), f"masked, {_span_text(one, offset)}") for one in masked],
        ticks=ticks,
        height=_TOP + height,
    )


def _span_text(one: Mapping[str, Any], offset: float) -> str:
    return f"{one['start'] + offset:.2f} to {one['end'] + offset:.2f} s"


def _tick_times(begin: float, span: float) -> list[float]:
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if span / s <= 12)
    first = math.ceil(begin / step - 1e-9)
    last = math.floor((begin + span) / step + 1e-9)
    return [round(k * step, 6) for k in range(first, last + 1)]


def bar_groups(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the bars of each activity and side, all on one scale.

    Parameters
    ----------
    rows : sequence of mappings
        Rows of ``activities`` in the document of a report.
    classes : sequence of str
        Names in the order of the bars.
    """
    most = max((max(r["count"], r["high"] or 0) for r in rows), default=0)
    room = WIDTH / 2 - LEFT - 110
    scale = room / max(most, 1)
    groups: dict[tuple[Any, Any], list[Bar]] = {}
    for row in rows:
        bars = groups.setdefault((row["activity"], row["side"]), [])
        index = list(classes).index(row["class"])
        low, high = row["low"], row["high"]
        text = f"{row['count']}"
        if low is not None and high is not None:
            text += f" ({low:.0f} to {high:.0f})"
        bars.append(
            Bar(
                y=_TOP + index * 20.0,
                width=row["count"] * scale,
                low=None if low is None else LEFT + low * scale,
                high=None if high is None else LEFT + high * scale,
                end=LEFT + max(row["count"], high or 0) * scale + 8,
                color=color_of(index),
                name=row["class"],
                text=text,
            )
        )
    return [
        {
            "activity": activity,
            "side": side,
            "bars": bars,
            "height": 2 * _TOP + 20.0 * len(classes),
            "width": WIDTH / 2,
        }
        for (activity, side), bars in groups.items()
    ]
