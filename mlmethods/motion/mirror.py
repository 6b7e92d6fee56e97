"""Left and right exchanged, so that the arm of interest is always on one side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlmethods.common.validation import check_choice
from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import NDArray
from mlmethods.motion.recording import Channel, Recording

__all__ = ["MirrorRule", "SideMirror", "mirror_side", "mirror_table"]

_AXES = ("x", "y", "z")
_TOKENS = (("left", "right"), ("lt", "rt"), ("l", "r"))
_OTHER: dict[str, Literal["left", "right"]] = {"left": "right", "right": "left"}
# Angles of the trunk count to one side; those of limbs are the same on both.
_TO_ONE_SIDE = ("lateral", "axial")


class MirrorRule(NamedTuple):
    """Where a channel of the mirrored recording comes from.

    Attributes
    ----------
    name : str
        The channel.
    source : str
        The channel whose values it takes: that of the other side of the body, or
        itself.
    sign : {1, -1}
        What they are multiplied with.
    """

    name: str
    source: str
    sign: int


def mirror_table(
    channels: Sequence[Channel],
    *,
    mediolateral: Literal["x", "y", "z"] = "y",
    signs: Mapping[str, int] | None = None,
) -> list[MirrorRule]:
    """Return the rule of each channel under a reflection of left and right.

    An acceleration along the mediolateral axis changes its sign; angular velocities
    and the vector part of quaternions, which turn, change it along the two others.
    Lateral and axial angles of the trunk change their sign, all other angles keep it.

    Parameters
    ----------
    channels : sequence of Channel
        Names of accelerations, angular velocities and quaternions tell their axis.
    mediolateral : {"x", "y", "z"}, default="y"
        The axis of the sensors that points from one side of the body to the other.
        It depends on how the sensors are worn.
    signs : mapping of str to {1, -1}, optional
        Signs of channels that are given, instead of these rules.

    Returns
    -------
    list of MirrorRule
        One for each channel; the side itself has the rule of its values, see
        :func:`mirror_side`.

    Raises
    ------
    InvalidInputError
        If a channel of one side has no counterpart on the other, or nothing tells the
        sign of a channel.

    Examples
    --------
    >>> from mlmethods.motion import Channel
    >>> from mlmethods.motion.preprocess import mirror_table
    >>> channels = [
    ...     Channel("hand_y_lt", "accel", "m/s2", side="left"),
    ...     Channel("hand_y_rt", "accel", "m/s2", side="right"),
    ... ]
    >>> mirror_table(channels)[0]
    MirrorRule(name='hand_y_lt', source='hand_y_rt', sign=-1)
    """
    check_choice("mediolateral", mediolateral, _AXES)
    given = dict(signs or {})
    names = [channel.name for channel in channels]
    for name, sign in given.items():
        if name not in names or sign not in (1, -1):
            raise InvalidInputError(
                f"signs must map names of channels to 1 or -1, got {name!r}: {sign!r}"
            )
    return [
        MirrorRule(
            channel.name,
            _counterpart(channel, channels),
            given.get(channel.name) or _sign(channel, mediolateral),
        )
        for channel in channels
    ]


def mirror_side(
    recording: Recording,
    *,
    mediolateral: Literal["x", "y", "z"] = "y",
    signs: Mapping[str, int] | None = None,
) -> Recording:
    """Return the recording as a mirror would show it.

    Channels of the left and the right side change places and some their sign, by
    :func:`mirror_table`; `side` becomes the other one, and so does the column of the
    kind ``"side"`` (0 and 1, or -1 and 1). Twice mirrored, the signals are the same
    bit for bit.

    Parameters
    ----------
    recording : Recording
        Channels keep their names and order.
    mediolateral : {"x", "y", "z"}, default="y"
        See :func:`mirror_table`.
    signs : mapping of str to {1, -1}, optional
        See :func:`mirror_table`.

    Raises
    ------
    InvalidInputError
        As :func:`mirror_table`, or if the column of the side has other values.

    Examples
    --------
    >>> import numpy as np
    >>> from mlmethods.motion import Channel, Recording
    >>> from mlmethods.motion.preprocess import mirror_side
    >>> channels = [
    ...     Channel("elbowltdeg", "angle", "deg", side="left"),
    ...     Channel("elbowrtdeg", "angle", "deg", side="right"),
    ... ]
    >>> data = [[1.0, 2.0]] * 8
    >>> recording = Recording(data, 100.0, channels, subject="s1", side="left")
    >>> mirrored = mirror_side(recording)
    >>> mirrored.data[0].tolist(), mirrored.side
    ([2.0, 1.0], 'right')
    """
    rules = mirror_table(recording.channels, mediolateral=mediolateral, signs=signs)
    place = {name: index for index, name in enumerate(recording.feature_names)}
    data = recording.data[:, [place[rule.source] for rule in rules]]
    for column, (rule, channel) in enumerate(
        zip(rules, recording.channels, strict=True)
    ):
        if channel.kind == "side":
            data[:, column] = _other_side(data[:, column], recording.name)
        elif rule.sign < 0:
            # Exact, and so is doing it twice.
            np.negative(data[:, column], out=data[:, column])
    meta = {**recording.meta, "mirrored": not recording.meta.get("mirrored", False)}
    if not meta["mirrored"]:
        del meta["mirrored"]
    side = recording.side
    return recording.replace(
        data=data, side=None if side is None else _OTHER[side], meta=meta
    )


class SideMirror(TransformerMixin, BaseEstimator):
    """Mirror the recordings of one side, so that all have the arm on the other.

    Parameters
    ----------
    mirror : {"paretic-right", "paretic-left"}, default="paretic-right"
        The side that all have afterwards.
    mediolateral : {"x", "y", "z"}, default="y"
        See :func:`mirror_table`.

    Examples
    --------
    >>> from mlmethods.motion.datasets import make_synthetic_primitives
    >>> from mlmethods.motion.preprocess import SideMirror
    >>> data = make_synthetic_primitives(4, seed=0)
    >>> {recording.side for recording in SideMirror().transform(data)}
    {'right'}
    """

    def __init__(
        self,
        mirror: Literal["paretic-right", "paretic-left"] = "paretic-right",
        mediolateral: Literal["x", "y", "z"] = "y",
    ) -> None:
        self.mirror = mirror
        self.mediolateral = mediolateral

    def fit(self, X: Iterable[Recording], y: Any = None) -> SideMirror:
        """Do nothing; for pipelines."""
        return self

    def transform(self, X: Iterable[Recording]) -> list[Recording]:
        """Return the recordings, mirrored where the side is the other one.

        Raises
        ------
        InvalidInputError
            If a recording has no side, or as :func:`mirror_side`.
        """
        check_choice("mirror", self.mirror, ("paretic-right", "paretic-left"))
        wanted = self.mirror.removeprefix("paretic-")
        mirrored = []
        for recording in X:
            if recording.side is None:
                raise InvalidInputError(
                    f"X must hold recordings with a side, {recording.name!r} has none"
                )
            if recording.side != wanted:
                recording = mirror_side(recording, mediolateral=self.mediolateral)
            mirrored.append(recording)
        return mirrored

    def __sklearn_is_fitted__(self) -> bool:
        return True


def _sign(channel: Channel, mediolateral: str) -> int:
    if channel.kind == "side":
        return 1
    if channel.kind == "angle":
        lateral = any(word in channel.name.lower() for word in _TO_ONE_SIDE)
        return -1 if lateral and channel.side is None else 1
    axis = _axis(channel)
    if channel.kind == "accel":
        return -1 if axis == mediolateral else 1
    # The real part of a quaternion stays; the rest is the axis of a turn.
    return 1 if axis in (mediolateral, "w") else -1


def _axis(channel: Channel) -> str:
    """Return the axis that a name tells: its last x, y, z or w that stands for one."""
    name = channel.name.lower()
    for token in ("m/s2", "m/s^2", "rad/s", "deg/s", "mg", channel.unit.lower()):
        name = name.removesuffix(token) if len(token) > 1 else name
    for token in ("left", "right", "lt", "rt", "_l", "_r"):
        name = name.removesuffix(token).rstrip("_- .")
    axes = (*_AXES, "w") if channel.kind == "quat" else _AXES
    found = [axis for axis in axes if name.endswith(axis)]
    if channel.kind == "feature" or not found:
        raise InvalidInputError(
            f"signs must say how channel {channel.name!r} is mirrored: its kind "
            f"{channel.kind!r} and its name do not tell"
        )
    return found[0]


def _counterpart(channel: Channel, channels: Sequence[Channel]) -> str:
    if channel.side is None:
        return channel.name
    others = {
        other.name
        for other in channels
        if other.side == _OTHER[channel.side] and other.kind == channel.kind
    }
    for pair in _TOKENS:
        own, other = pair if channel.side == "left" else pair[::-1]
        found = others & _replaced(channel.name, own, other)
        if len(found) == 1:
            return found.pop()
    raise InvalidInputError(
        f"channels must come in pairs of left and right, {channel.name!r} has no "
        "counterpart"
    )


def _replaced(name: str, own: str, other: str) -> set[str]:
    """Return the names with one occurrence of a word replaced."""
    variants = set()
    for before, after in (
        (own, other),
        (own.upper(), other.upper()),
        (own.capitalize(), other.capitalize()),
    ):
        place = name.find(before)
        while place >= 0:
            variants.add(name[:place] + after + name[place + len(before) :])
            place = name.find(before, place + 1)
    return variants


def _other_side(values: NDArray, name: str) -> NDArray:
    if np.isin(values, (0, 1)).all():
        return 1 - values
    if np.isin(values, (-1, 1)).all():
        return -values
    raise InvalidInputError(
        f"the side of recording {name!r} must be 0 and 1 or -1 and 1 to be mirrored"
    )
