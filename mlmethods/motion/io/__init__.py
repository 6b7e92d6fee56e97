"""Reading of sensor exports: tables, Noraxon, Xsens MVNX and BIDS-motion."""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "ColumnMap": "mlmethods.motion.io.columns",
        "read": "mlmethods.motion.io.reading",
        "read_folder": "mlmethods.motion.io.folder",
    },
)
