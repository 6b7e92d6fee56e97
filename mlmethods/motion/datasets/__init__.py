"""Data sets of motions, found where they are installed or where you put them.

Nothing is downloaded. A missing set raises with the package or the layout of files that
provides it. What is generated says that it is synthetic.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "STROKEREHAB_CLASSES": "mlmethods.motion.datasets.strokerehab",
        "STROKEREHAB_SPLITS": "mlmethods.motion.datasets.strokerehab",
        "load_cmu86": "mlmethods.motion.datasets.cmu86",
        "load_jigsaws": "mlmethods.motion.datasets.jigsaws",
        "load_strokerehab": "mlmethods.motion.datasets.strokerehab",
        "load_tas": "mlmethods.motion.datasets.tas",
        "load_watch": "mlmethods.motion.datasets.watch",
        "make_synthetic_primitives": "mlmethods.motion.datasets.synthetic",
        "make_watch_sessions": "mlmethods.motion.datasets.watch",
    },
)
