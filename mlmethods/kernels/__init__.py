"""The kernel family, and ridge regression with any of it.

Every class produces a :class:`mlmethods.interfaces.KernelSpec`, which is all that a
backend needs of a kernel.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "Kernel": "mlmethods.kernels.base",
        "LaplaceKernel": "mlmethods.kernels.family",
        "GaussianKernel": "mlmethods.kernels.family",
        "ExpPowerKernel": "mlmethods.kernels.family",
        "MaternKernel": "mlmethods.kernels.family",
        "LpqKernel": "mlmethods.kernels.family",
        "SumPowerLaplaceKernel": "mlmethods.kernels.family",
        "QuadraticKernel": "mlmethods.kernels.family",
        "InnerProductKernel": "mlmethods.kernels.family",
        "median_bandwidth": "mlmethods.kernels.resolve",
        "resolve_kernel": "mlmethods.kernels.resolve",
        "kernel_from_config": "mlmethods.kernels.config",
        "kernel_to_config": "mlmethods.kernels.config",
        "EigenProRegressor": "mlmethods.kernels.eigenpro",
        "KernelRidge": "mlmethods.kernels.ridge",
    },
)
