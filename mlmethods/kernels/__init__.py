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
        "LaplaceL1Kernel": "mlmethods.kernels.family",
        "LinearKernel": "mlmethods.kernels.family",
        "NNGPKernel": "mlmethods.kernels.network",
        "NTKKernel": "mlmethods.kernels.network",
        "PolynomialKernel": "mlmethods.kernels.family",
        "ProductKernel": "mlmethods.kernels.composite",
        "RationalQuadraticKernel": "mlmethods.kernels.family",
        "SumKernel": "mlmethods.kernels.composite",
        "median_bandwidth": "mlmethods.kernels.resolve",
        "resolve_kernel": "mlmethods.kernels.resolve",
        "kernel_from_config": "mlmethods.kernels.config",
        "kernel_to_config": "mlmethods.kernels.config",
        "EigenProRegressor": "mlmethods.kernels.eigenpro",
        "KernelDiagnostics": "mlmethods.kernels.diagnostics",
        "kernel_diagnostics": "mlmethods.kernels.diagnostics",
        "KernelRidge": "mlmethods.kernels.ridge",
        "KernelRidgeCV": "mlmethods.kernels.ridge_cv",
        "KernelRidgeClassifier": "mlmethods.kernels.ridge_classifier",
        "RidgePath": "mlmethods.kernels.path",
        "ridge_path": "mlmethods.kernels.path",
    },
)
