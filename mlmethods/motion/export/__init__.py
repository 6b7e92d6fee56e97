"""Labeled spans as CSV, ELAN, Praat and BIDS files, and back.

Spans belong to tracks: one for each side of the body, or any other name. People correct
a file in ELAN or Praat, and the readers return it as labels.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "convert": "mlmethods.motion.export.formats",
        "read_csv": "mlmethods.motion.export.tables",
        "read_eaf": "mlmethods.motion.export.elan",
        "read_events": "mlmethods.motion.export.tables",
        "read_textgrid": "mlmethods.motion.export.praat",
        "read_tracks": "mlmethods.motion.export.formats",
        "write_csv": "mlmethods.motion.export.tables",
        "write_eaf": "mlmethods.motion.export.elan",
        "write_events": "mlmethods.motion.export.tables",
        "write_textgrid": "mlmethods.motion.export.praat",
        "write_tracks": "mlmethods.motion.export.formats",
    },
)
