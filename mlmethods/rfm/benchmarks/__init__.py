"""RFM beside its peers on many small tables."""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "METHODS": "mlmethods.rfm.benchmarks.methods",
        "accuracy_by_dataset": "mlmethods.rfm.benchmarks.table",
        "run_tabular": "mlmethods.rfm.benchmarks.table",
        "summarize": "mlmethods.rfm.benchmarks.table",
    },
)
