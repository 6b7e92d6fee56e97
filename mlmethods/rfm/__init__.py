"""Recursive Feature Machines: kernel machines that learn features.

A kernel machine is fitted, the average gradient outer product (AGOP) of what it
learned becomes the Mahalanobis matrix of its kernel, and the two steps repeat
(Radhakrishnan, Beaglehole, Pandit, Belkin, Science 383:1461-1467, 2024).
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "EigenProRegressor": "mlmethods.kernels.eigenpro",
        "LinearRFMRegressor": "mlmethods.rfm.linear",
        "MatrixCompletion": "mlmethods.rfm.completion",
        "FeatureAnsatzReport": "mlmethods.rfm.network",
        "RFMClassifier": "mlmethods.rfm.estimators",
        "RFMClassifierCV": "mlmethods.rfm.cv",
        "RFMRegressor": "mlmethods.rfm.estimators",
        "RFMRegressorCV": "mlmethods.rfm.cv",
        "TreeRFMClassifier": "mlmethods.rfm.trees.estimators",
        "TreeRFMRegressor": "mlmethods.rfm.trees.estimators",
        "agop": "mlmethods.rfm.network",
        "agop_alignment": "mlmethods.rfm.measures",
        "circulant_deviation": "mlmethods.rfm.measures",
        "feature_ansatz": "mlmethods.rfm.network",
        "feature_mask": "mlmethods.rfm.measures",
        "kernel_agop": "mlmethods.rfm.functions",
        "matrix_power_psd": "mlmethods.rfm.network",
        "neural_feature_matrix": "mlmethods.rfm.network",
        "plot_feature_image": "mlmethods.rfm.plots",
        "plot_feature_matrix": "mlmethods.rfm.plots",
        "plot_history": "mlmethods.rfm.plots",
        "reference_params": "mlmethods.rfm.functions",
        "search_space": "mlmethods.rfm.search",
    },
)
