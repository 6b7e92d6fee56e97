"""Xsens MVN files (.mvnx), read as a stream."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from mlmethods.errors import DataFormatError
from mlmethods.interfaces import NDArray
from mlmethods.motion.io.names import identity_of
from mlmethods.motion.io.stamps import time_axis
from mlmethods.motion.recording import (
    Channel,
    ChannelKind,
    QualityEntry,
    Recording,
    Side,
)

__all__ = ["read_mvnx"]

# What is read of a frame: values for each part, kind, unit, names of the components.
_FIELDS: dict[str, tuple[str, ChannelKind, str, tuple[str, ...]]] = {
    "orientation": ("segment", "quat", "1", ("w", "x", "y", "z")),
    "angularVelocity": ("segment", "gyro", "rad/s", ("x", "y", "z")),
    "sensorFreeAcceleration": ("sensor", "accel", "m/s2", ("x", "y", "z")),
    "jointAngle": (
        "joint",
        "angle",
        "deg",
        ("abduction", "rotation", "flexion"),
    ),
}
_FRAMES_AT_ONCE = 1024


def read_mvnx(path: Path, fs: float | None = None) -> Recording:
    """Read orientations, angular velocities, free accelerations and joint angles.

    Frames of types other than ``normal`` (calibration poses) are left out. Memory is
    that of the signals: each frame is forgotten once it is read.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    fs : float, optional
        Frames per second; by default the frame rate in the file.

    Raises
    ------
    DataFormatError
        If it is not complete XML, holds no frames, or a frame has another number of
        values than there are segments, sensors or joints.
    """
    reader = _Reader(path)
    try:
        reader.run()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataFormatError(
            f"{path}:{line}: the XML breaks off or is damaged at column {column}"
        ) from error
    return reader.recording(fs)


class _Reader:
    """What was seen so far of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.subject: dict[str, str] = {}
        self.parts: dict[str, list[str]] = {"segment": [], "sensor": [], "joint": []}
        self.fields: list[str] = []
        self.blocks: list[NDArray] = []
        self.block: NDArray | None = None
        self.filled = 0
        self.count = 0
        self.times: list[float] = []

    def run(self) -> None:
        """Go through the file once."""
        opened: list[Any] = []
        for event, element in ElementTree.iterparse(self.path, ("start", "end")):
            tag = element.tag.rpartition("}")[2]
            if event == "start":
                opened.append(element)
                if tag == "subject":
                    self.subject = dict(element.attrib)
                continue
            opened.pop()
            if tag in self.parts:
                self.parts[tag].append(
                    element.get("label") or str(len(self.parts[tag]))
                )
            elif tag == "frame":
                if element.get("type", "normal") == "normal":
                    self._frame(element)
                if opened:
                    # The parent would keep every frame.
                    opened[-1].remove(element)

    def recording(self, fs: float | None) -> Recording:
        """Return what was read."""
        if not self.count:
            raise DataFormatError(f"{self.path}: there is no frame of type 'normal'")
        assert self.block is not None
        data = np.concatenate([*self.blocks, self.block[: self.filled]])
        rate = fs if fs is not None else self._rate()
        meta: dict[str, Any] = {"source": self.path.name}
        quality: list[QualityEntry] = []
        if len(self.times) == self.count > 1 and fs is None:
            where = f"{self.path}: attribute 'time' of frames"
            # Milliseconds are rounded, which the tolerance of uniform stamps allows.
            axis = time_axis(np.array(self.times), "ms", rate, where)
            quality = axis.quality
            if axis.time is not None:
                meta["time"] = axis.time
        identity = identity_of(self.path)
        for key in ("label", "recDate", "configuration"):
            if self.subject.get(key):
                meta[f"mvnx_{key}"] = self.subject[key]
        return Recording(
            data,
            rate,
            self._channels(),
            subject=identity.subject,
            session=identity.session,
            activity=identity.activity,
            quality=tuple(quality),
            meta={"name": identity.name, **meta},
        )

    def _rate(self) -> float:
        text = self.subject.get("frameRate", "")
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0 < rate < np.inf:
            raise DataFormatError(
                f"{self.path}: subject must have a frameRate, got {text!r}; give fs="
            )
        return rate

    def _frame(self, element: Any) -> None:
        values = {
            child.tag.rpartition("}")[2]: child.text or ""
            for child in element
            if child.tag.rpartition("}")[2] in _FIELDS
        }
        if not self.count:
            self.fields = [name for name in _FIELDS if values.get(name, "").strip()]
            if not self.fields:
                raise DataFormatError(
                    f"{self.path}: frames must have one of {', '.join(_FIELDS)}"
                )
        parts = [self._numbers(name, values.get(name, "")) for name in self.fields]
        row = np.concatenate(parts)
        if self.block is None or self.filled == len(self.block):
            if self.block is not None:
                self.blocks.append(self.block)
            self.block, self.filled = (
                np.empty((_FRAMES_AT_ONCE, len(row)), np.float32),
                0,
            )
        self.block[self.filled] = row
        self.filled += 1
        self.count += 1
        text = element.get("time", "")
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            self.times.append(float(text))

    def _numbers(self, name: str, text: str) -> NDArray:
        part, _, _, components = _FIELDS[name]
        try:
            values = np.array(text.split(), dtype=np.float32)
        except ValueError as error:
            raise DataFormatError(
                f"{self.path}: {name} of frame {self.count} must hold numbers"
            ) from error
        if not self.parts[part]:
            self.parts[part] = [str(i) for i in range(len(values) // len(components))]
        wanted = len(self.parts[part]) * len(components)
        if len(values) != wanted:
            raise DataFormatError(
                f"{self.path}: {name} of frame {self.count} must have {wanted} values, "
                f"{len(components)} for each {part}, got {len(values)}"
            )
        return values

    def _channels(self) -> tuple[Channel, ...]:
        channels: list[Channel] = []
        for name in self.fields:
            part, kind, unit, components = _FIELDS[name]
            for label in self.parts[part]:
                side, sensor = _sided(label)
                channels.extend(
                    Channel(
                        f"{name}_{label}_{component}",
                        kind,
                        unit,
                        sensor,
                        side,
                    )
                    for component in components
                )
        return tuple(channels)


def _sided(label: str) -> tuple[Side | None, str]:
    """Return the side and the plain name of a segment, sensor or joint."""
    plain = re.sub(r"^j(?=[A-Z])", "", label)
    match = re.fullmatch(r"(Left|Right)(.+)", plain)
    if match is None:
        return None, plain.lower()
    return ("left" if match[1] == "Left" else "right"), match[2].lower()
