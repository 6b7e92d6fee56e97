"""Recordings as rows of an Arrow table, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmethods.common.atomic import atomic_path
from mlmethods.common.json_values import from_json, to_json
from mlmethods.errors import DataFormatError, InvalidInputError
from mlmethods.motion.recording import Channel, QualityEntry, Recording
from mlmethods.motion.segments import Segments

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

__all__ = ["open_rows", "write_rows"]

_FORMAT = 1


def write_rows(
    recordings: Iterable[Recording],
    classes: Sequence[str],
    path: str | os.PathLike[str] | None,
) -> datasets.Dataset:
    """Return the recordings as a dataset, in memory or mapped from an Arrow file."""
    import datasets
    import pyarrow as pa

    schema = _schema()
    if path is None:
        rows = [_row(recording, classes, schema) for recording in recordings]
        return datasets.Dataset(pa.Table.from_batches(rows, schema))
    with (
        atomic_path(path) as scratch,
        pa.OSFile(str(scratch), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for recording in recordings:
            writer.write_batch(_row(recording, classes, schema))
    return datasets.Dataset.from_file(os.fspath(path))


def open_rows(
    dataset: datasets.Dataset,
) -> tuple[list[str], list[RowReader], list[str], list[str]]:
    """Return subjects, readers, classes and names of channels.

    Raises
    ------
    DataFormatError
        If columns are missing or the rows are of another version.
    """
    wanted = _schema().names
    missing = sorted(set(wanted) - set(dataset.column_names))
    if missing:
        raise DataFormatError(
            f"dataset must have the columns of to_hf, it has no {missing[0]!r}"
        )
    if not len(dataset):
        raise InvalidInputError("dataset must have rows, got none")
    # Not the format "numpy", which turns times into single precision.
    rows = dataset.with_format("arrow", columns=wanted)
    subjects = [str(subject) for subject in dataset["subject"]]
    readers = [RowReader(rows, index) for index in range(len(subjects))]
    header = readers[0].header()
    return (
        subjects,
        readers,
        header["classes"],
        [channel["name"] for channel in header["channels"]],
    )


@dataclass(frozen=True)
class RowReader:
    """Reads one row of a dataset.

    Attributes
    ----------
    rows : datasets.Dataset
        In the format of Arrow.
    index : int
        Which row.
    """

    rows: Any
    index: int

    def header(self, row: pa.Table | None = None) -> dict[str, Any]:
        """Return all that is no array."""
        row = self.rows[self.index] if row is None else row
        header: dict[str, Any] = from_json(json.loads(row["header"][0].as_py()))
        if header.get("format") != _FORMAT:
            raise DataFormatError(
                f"dataset must have rows of format {_FORMAT}, got "
                f"{header.get('format')!r} in row {self.index}"
            )
        return header

    def __call__(self) -> Recording:
        """Return the recording."""
        row = self.rows[self.index]
        header = self.header(row)

        def array(name: str) -> Any:
            return row[name][0].values.to_numpy()

        labels, known = None, header["labels"]
        if known is not None:
            labels = Segments(
                array("start"),
                array("end"),
                array("label"),
                tuple(header["classes"]),
                known["confidence"],
                known["valid"],
            )._marked(known["from_frames"])
        channels = tuple(Channel(**channel) for channel in header["channels"])
        return Recording(
            array("data").reshape(-1, len(channels)),
            row["fs"][0].as_py(),
            channels,
            subject=row["subject"][0].as_py(),
            session=header["session"],
            activity=header["activity"],
            side=header["side"],
            labels=labels,
            quality=tuple(QualityEntry(*entry) for entry in header["quality"]),
            meta=header["meta"],
        )


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        {
            "subject": pa.string(),
            "session": pa.string(),
            "activity": pa.string(),
            "side": pa.string(),
            "fs": pa.float64(),
            "n_frames": pa.int64(),
            # 64-bit offsets: a merged chunk may hold more than 2^31 numbers.
            "data": pa.large_list(pa.float32()),
            "start": pa.large_list(pa.float64()),
            "end": pa.large_list(pa.float64()),
            "label": pa.large_list(pa.int32()),
            "header": pa.string(),
        }
    )


def _row(
    recording: Recording, classes: Sequence[str], schema: pa.Schema
) -> pa.RecordBatch:
    import pyarrow as pa

    labels = recording.labels
    empty = np.zeros(0)
    times = (empty, empty, empty) if labels is None else _spans(labels)
    arrays = {
        "data": np.ascontiguousarray(recording.data).reshape(-1),
        **dict(zip(("start", "end", "label"), times, strict=True)),
    }
    values: dict[str, Any] = {
        "subject": recording.subject,
        "session": recording.session,
        "activity": recording.activity,
        "side": recording.side,
        "fs": recording.fs,
        "n_frames": recording.n_frames,
        "header": json.dumps(to_json("meta", _header(recording, classes))),
    }
    columns = []
    for field in schema:
        if field.name in arrays:
            # Built around the array itself, without a Python object for each number.
            flat = pa.array(arrays[field.name], field.type.value_type)
            columns.append(pa.LargeListArray.from_arrays([0, len(flat)], flat))
        else:
            columns.append(pa.array([values[field.name]], field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _spans(labels: Segments) -> tuple[Any, Any, Any]:
    return labels.start, labels.end, labels.label


def _header(recording: Recording, classes: Sequence[str]) -> dict[str, Any]:
    labels = recording.labels
    return {
        "format": _FORMAT,
        "classes": list(classes),
        "session": recording.session,
        "activity": recording.activity,
        "side": recording.side,
        "channels": [asdict(channel) for channel in recording.channels],
        "quality": [list(entry) for entry in recording.quality],
        "labels": None
        if labels is None
        else {
            "confidence": labels.confidence,
            "valid": labels.valid,
            "from_frames": labels._from_frames,
        },
        "meta": recording.meta,
    }
