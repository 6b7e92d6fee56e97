"""What the columns of a table are: inferred from their names, or given."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlmethods.common.validation import check_choice, check_real
from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion._units import known_unit
from mlmethods.motion.recording import Channel, Side

__all__ = ["ColumnMap", "split_unit"]

_WITH_UNITS = ("accel", "gyro", "angle")
TIME_UNITS = ("s", "ms", "us", "ns", "index")

_LEFT = {"left", "lt", "l"}
_RIGHT = {"right", "rt", "r"}
_ACCEL = r"acc|accel|acceleration|accelerometer|lacc|a"
_GYRO = r"gyr|gyro|gyroscope|angvel|omega|w|g"
_QUAT = r"quat|quaternion|q|ori|ornt|orientation"
_ANGLE = re.compile(
    r"flexion|extension|abduction|adduction|rotation|supination|pronation|radial|"
    r"ulnar|inversion|eversion|obliquity|tilt|angle|axial|lateral|course|pitch|roll"
)
_COMPONENTS = {**dict(zip("0123", "wxyz", strict=True)), **{c: c for c in "wxyz"}}
_FILLER = {"sensor", "imu", "free", "linear", "raw", "data", "cal", "angular"}
_FILLER |= {"velocity", "rate", "vel"}

_TIME = re.compile(
    r"(elapsed|unix|local|utc)?(time(stamps?)?|t|datetime|date|seconds|millis|epoch)"
)
_INDEX = re.compile(
    r"(sampletimefine|packetcounter|counter|frames?|samples?|index|row|"
    r"(frame|sample)(number|index|no)|unnamed\d*|)"
)
_LABEL = re.compile(r"labels?|class|primitives?|annotations?")
_SIDE = re.compile(r"(paretic|affected|impaired)?side|paretic")
_IGNORED = re.compile(
    r"markers?|markernames?|activity|activities|activitynames|comments?"
)
_ROLES = {
    "label": _LABEL,
    "side": _SIDE,
    "ignore": _IGNORED,
    "time": _TIME,
    "index": _INDEX,
}


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """What the columns of a table are.

    Parameters
    ----------
    time : str, optional
        Column of time stamps.
    time_unit : {"s", "ms", "us", "ns", "index"}, optional
        Their unit; ``"index"`` counts samples. None tells it from the values.
    fs : float, optional
        Samples per second.
    label : str, optional
        Column that names the class of every frame.
    classes : sequence of str, optional
        Classes in their order. By default those of StrokeRehab where they hold all
        labels, else the labels in alphabetical order.
    channels : mapping of str to Channel, optional
        Column to channel, with the unit of the file (an empty one is told from the
        values). Columns that it does not name are left out. By default all channels
        are told from the names of the columns.
    side : str, optional
        Column that holds the arm.
    units : mapping of str to str, optional
        Kind of channel to its unit, where the names of the columns do not tell.
    quaternion : {"wxyz", "xyzw"}
        What numbered components of quaternions are.
    ignore : sequence of str
        Columns that are left out.

    Raises
    ------
    InvalidInputError
        If a unit does not belong to the kind of its channel.

    Examples
    --------
    >>> from mlmethods.motion.io import ColumnMap
    >>> inferred = ColumnMap.infer(["time (ms)", "accX_wrist_L [g]", "gyr_z", "class"])
    >>> inferred.time, inferred.time_unit, inferred.label
    ('time (ms)', 'ms', 'class')
    >>> inferred.channels["accX_wrist_L [g]"]
    Channel(name='accX_wrist_L', kind='accel', unit='g', sensor='wrist', side='left')
    """

    time: str | None = None
    time_unit: str | None = None
    fs: float | None = None
    label: str | None = None
    classes: tuple[str, ...] | None = None
    channels: Mapping[str, Channel] | None = None
    side: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    quaternion: str = "wxyz"
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.time_unit is not None:
            check_choice("time_unit", self.time_unit, TIME_UNITS)
        check_choice("quaternion", self.quaternion, ("wxyz", "xyzw"))
        if self.fs is not None:
            check_real("fs", self.fs, minimum=0, open_minimum=True)
        for kind, unit in self.units.items():
            check_choice("units", kind, ("accel", "gyro", "angle"))
            _check_unit(kind, unit, "units")
        for column, channel in (self.channels or {}).items():
            _check_unit(channel.kind, channel.unit, f"channels[{column!r}]")
        for name in ("classes", "ignore"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))

    @classmethod
    def infer(
        cls,
        names: Sequence[str],
        units: Sequence[str | None] | None = None,
        *,
        quaternion: str = "wxyz",
    ) -> ColumnMap:
        """Return what names of columns say.

        Parameters
        ----------
        names : sequence of str
            Names of the columns.
        units : sequence of str or None, optional
            Units of the columns, where the file has them in a row of their own.
        quaternion : {"wxyz", "xyzw"}
            What numbered components of quaternions are.
        """
        roles = _roles(names, units)
        taken = {roles["time"], roles["label"], roles["side"], *roles["ignore"]}
        return cls(
            time=roles["time"],
            time_unit=roles["unit"],
            label=roles["label"],
            channels=_channels(names, units, taken, quaternion),
            side=roles["side"],
            quaternion=quaternion,
            ignore=tuple(roles["ignore"]),
        )

    @classmethod
    def of(cls, value: Any) -> ColumnMap:
        """Return a map from a map, a mapping of its fields, or a YAML or JSON file."""
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls._from_mapping(value, "column_map")
        if isinstance(value, (str, os.PathLike)):
            return cls.from_file(value)
        raise InvalidInputError(
            "column_map must be a ColumnMap, a mapping or a file, got "
            f"{type(value).__name__}"
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> ColumnMap:
        """Return what a YAML or JSON file says.

        Its keys are the parameters; a channel is a mapping with the keys kind, unit,
        sensor, side and name, of which kind is needed.

        Raises
        ------
        DataFormatError
            If the file is not a mapping, or a key or value is not accepted.
        """
        import yaml

        file = Path(path)
        try:
            # JSON is YAML, too.
            content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            raise DataFormatError(
                f"{file}{line}: a column map must be YAML or JSON"
            ) from error
        except UnicodeDecodeError as error:
            raise DataFormatError(f"{file}: a column map must be UTF-8") from error
        if not isinstance(content, Mapping):
            raise DataFormatError(
                f"{file}: a column map must be a mapping, got {type(content).__name__}"
            )
        return cls._from_mapping(content, str(file))

    @classmethod
    def _from_mapping(cls, content: Mapping[str, Any], where: str) -> ColumnMap:
        known = [entry.name for entry in dataclasses.fields(cls)]
        values = dict(content)
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise DataFormatError(
                    f"{where}: keys must be among {', '.join(known)}, got {key!r}{hint}"
                )
        try:
            if values.get("channels") is not None:
                values["channels"] = {
                    str(column): _given_channel(str(column), entry)
                    for column, entry in dict(values["channels"]).items()
                }
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise DataFormatError(f"{where}: {error}") from error

    def completed(
        self, names: Sequence[str], units: Sequence[str | None] | None = None
    ) -> ColumnMap:
        """Return the map with all that is not given told from names of columns.

        Raises
        ------
        InvalidInputError
            If a column that the map names is not among `names`.
        """
        wanted = [self.time, self.label, self.side, *(self.channels or ())]
        for column in wanted:
            if column is not None and column not in names:
                close = difflib.get_close_matches(column, list(names), n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InvalidInputError(
                    f"column_map names the column {column!r}, which is not there{hint}"
                )
        roles = _roles(names, units, self.ignore)
        ignore = (*self.ignore, *roles["ignore"])
        time, label, side = (
            getattr(self, role) or roles[role] for role in ("time", "label", "side")
        )
        channels = self.channels
        if channels is None:
            taken = {time, label, side, *ignore}
            channels = _channels(names, units, taken, self.quaternion)
        told = roles["unit"] if time == roles["time"] else None
        return dataclasses.replace(
            self,
            time=time,
            time_unit=self.time_unit or told,
            label=label,
            side=side,
            channels={
                name: _with_unit(channel, self.units)
                for name, channel in channels.items()
            },
            ignore=ignore,
        )


def split_unit(name: str) -> tuple[str, str | None]:
    """Return a column's name without its unit, and the unit if one is written.

    Units stand in brackets at the end, after a comma, or after the last underscore.
    """
    text = name.strip()
    match = re.fullmatch(r"(.*?)\s*[(\[]([^()\[\]]*)[)\]]", text)
    if match is None:
        match = re.fullmatch(r"(.*),\s*([^,]*)", text)
        if match and not any(known_unit(kind, match[2]) for kind in _WITH_UNITS):
            match = None
    if match:
        return match[1].strip(), match[2].strip() or None
    match = re.fullmatch(
        r"(.+)_(ms2|m/s2|mg|g|rads|dps|degs|ms|us|ns|s|deg)", text, re.I
    )
    if match:
        return match[1], match[2].lower()
    return text, None


def _plain(name: str) -> str:
    """Return a name in lower-case ASCII with words parted by spaces."""
    text = unicodedata.normalize("NFKD", name)
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _roles(
    names: Sequence[str],
    units: Sequence[str | None] | None,
    ignored: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the columns that are no channels, and the unit of time."""
    found: dict[str, list[str]] = {role: [] for role in _ROLES}
    for name in names:
        role = _role(split_unit(name)[0])
        if role is not None and name not in ignored:
            found[role].append(name)
    stamps = [*found["time"], *found["index"]]
    time = next(iter(stamps), None)
    unit = None
    if time is not None:
        given = None if units is None else units[list(names).index(time)]
        unit = _time_unit(given or split_unit(time)[1])
        unit = unit if found["time"] else "index"
    label, side = (next(iter(found[role]), None) for role in ("label", "side"))
    spare = [*stamps[1:], *found["label"][1:], *found["side"][1:]]
    return {
        "time": time,
        "unit": unit,
        "label": label,
        "side": side,
        "ignore": [*found["ignore"], *spare],
    }


def _channels(
    names: Sequence[str],
    units: Sequence[str | None] | None,
    taken: Collection[str | None],
    quaternion: str,
) -> dict[str, Channel]:
    """Return the channels of all columns that are not taken."""
    given = [None] * len(names) if units is None else list(units)
    channels = {}
    for name, unit in zip(names, given, strict=True):
        if name not in taken:
            base, written = split_unit(name)
            channels[name] = _channel(base, unit or written, quaternion)
    return _unique(channels)


def _role(name: str) -> str | None:
    glued = _plain(name).replace(" ", "")
    for role, pattern in _ROLES.items():
        if pattern.fullmatch(glued):
            return role
    return None


def _channel(name: str, unit: str | None, quaternion: str) -> Channel:
    """Return what a name and a unit say of a channel."""
    words = _plain(name).split()
    side, words = _side(words)
    kind, component, rest = _kind(words, unit)
    sensor = "".join(word for word in rest if word not in _FILLER) or None
    if kind == "angle" and unit is None and words[-1].endswith("deg"):
        unit = "deg"
    plain = known_unit(kind, unit) if unit is not None else None
    if unit is not None and plain is None:
        raise InvalidInputError(
            f"column {name!r} seems to hold {kind} values, which have no unit {unit!r}"
        )
    if kind == "quat":
        plain = "1"
        digits = component.isdigit() if component else False
        if component and digits:
            order = dict(zip("0123", quaternion, strict=True))
            name = f"{name[: len(name) - 1].rstrip('_ ')}_{order[component]}"
    return Channel(name, kind, plain or "", sensor, side)  # type: ignore[arg-type]


def _side(words: list[str]) -> tuple[Side | None, list[str]]:
    rest = []
    side: Side | None = None
    for word in words:
        if word in _LEFT or word in _RIGHT:
            side = "left" if word in _LEFT else "right"
            continue
        match = re.fullmatch(r"(left|right)(.+)", word)
        if match:
            side = "left" if match[1] == "left" else "right"
            word = match[2]
        # Angles of StrokeRehab end in the side and the unit.
        match = re.fullmatch(r"(.+)(lt|rt)deg", word)
        if match and not word.startswith(("lumbar", "thoracic")):
            side = "left" if match[2] == "lt" else "right"
        rest.append(word)
    if rest and rest[0] in {"lumbar", "thoracic"}:
        side = None
    return side, rest


def _kind(words: list[str], unit: str | None) -> tuple[str, str | None, list[str]]:
    """Return kind, component and the words that are neither."""
    # Names such as accx and q0 hold both in one word.
    parts: list[str] = []
    for word in words:
        match = re.fullmatch(rf"({_ACCEL}|{_GYRO}|{_QUAT})([wxyz]|[0-3])", word)
        parts.extend(match.groups() if match else (word,))
    component = next((part for part in reversed(parts) if part in _COMPONENTS), None)
    for kind, pattern in (("quat", _QUAT), ("accel", _ACCEL), ("gyro", _GYRO)):
        hits = [part for part in parts if re.fullmatch(pattern, part)]
        # One letter is too little unless the component follows it.
        if not hits or (len(hits[0]) == 1 and component is None):
            continue
        if kind == "quat" and component is None:
            continue
        if kind != "quat" and component is not None and component.isdigit():
            component = None
        rest = [part for part in parts if part not in (hits[0], component)]
        return kind, component, rest
    text = " ".join(parts)
    if "angular" in parts and "velocity" in parts:
        rest = [part for part in parts if part != component]
        return "gyro", component, rest
    angular = unit is not None and known_unit("angle", unit) is not None
    if angular or _ANGLE.search(text):
        return "angle", None, []
    return "feature", None, []


def _unique(channels: dict[str, Channel]) -> dict[str, Channel]:
    """Give channels whose names became equal the full names of their columns."""
    names = [channel.name for channel in channels.values()]
    return {
        column: dataclasses.replace(channel, name=column)
        if not channel.name or names.count(channel.name) > 1
        else channel
        for column, channel in channels.items()
    }


def _time_unit(unit: str | None) -> str | None:
    text = (unit or "").strip().lower().replace("µ", "u").replace("μ", "u")
    names = {"sec": "s", "seconds": "s", "msec": "ms", "usec": "us"}
    text = names.get(text, text)
    return text if text in TIME_UNITS else None


def _check_unit(kind: str, unit: str, where: str) -> None:
    if unit and known_unit(kind, unit) is None:
        raise InvalidInputError(f"{where} must have a unit of {kind}, got {unit!r}")


def _with_unit(channel: Channel, units: Mapping[str, str]) -> Channel:
    unit = channel.unit or units.get(channel.kind, "")
    return dataclasses.replace(channel, unit=known_unit(channel.kind, unit) or "")


def _given_channel(column: str, entry: Any) -> Channel:
    if isinstance(entry, Channel):
        return entry
    if not isinstance(entry, Mapping) or "kind" not in entry:
        raise InvalidInputError(
            f"channels[{column!r}] must be a mapping with the key kind, got {entry!r}"
        )
    unknown = set(entry) - {"kind", "unit", "sensor", "side", "name"}
    if unknown:
        raise InvalidInputError(
            f"channels[{column!r}] must have no key {sorted(map(str, unknown))[0]!r}"
        )
    values = {"name": column, "unit": "", **entry}
    return Channel(**values)
