"""Benign, tempered or catastrophic: what fitting noise exactly costs.

Spectra and the eigenframework predict the cost of interpolation with a kernel; the
kernel matrix alone, or a study of any estimator at several sizes and noise levels,
measures it; a verdict says which of the three it is, with its uncertainty (Mallinar,
Simon, Abedsoltan, Pandit, Belkin, Nakkiran, NeurIPS 2022).
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "E0_powerlaw": "mlmethods.overfitting.theory",
        "EigenPrediction": "mlmethods.overfitting.theory",
        "ExponentFit": "mlmethods.overfitting.empirical",
        "HilbertClassifier": "mlmethods.overfitting.anchors",
        "HilbertRegressor": "mlmethods.overfitting.anchors",
        "InterpolationStudy": "mlmethods.overfitting.networks",
        "LogNeighborsClassifier": "mlmethods.overfitting.anchors",
        "LogNeighborsRegressor": "mlmethods.overfitting.anchors",
        "NoiseProfile": "mlmethods.overfitting.profile",
        "OverfittingCoefficient": "mlmethods.overfitting.coefficient",
        "OverfittingStudy": "mlmethods.overfitting.study",
        "Problem": "mlmethods.overfitting.problems",
        "Spectrum": "mlmethods.overfitting.spectrum",
        "StudyResult": "mlmethods.overfitting.study",
        "Verdict": "mlmethods.overfitting.verdict",
        "add_label_noise": "mlmethods.overfitting.noise",
        "circle_spectrum": "mlmethods.overfitting.domains",
        "classify_overfitting": "mlmethods.overfitting.verdict",
        "effective_regularization": "mlmethods.overfitting.theory",
        "empirical_spectrum": "mlmethods.overfitting.empirical",
        "fit_exponent": "mlmethods.overfitting.empirical",
        "hypercube_spectrum": "mlmethods.overfitting.domains",
        "kernel_verdict": "mlmethods.overfitting.trend",
        "noise_profile": "mlmethods.overfitting.profile",
        "overfitting_coefficient": "mlmethods.overfitting.coefficient",
        "plot_cost": "mlmethods.overfitting.plots",
        "plot_learnabilities": "mlmethods.overfitting.plots",
        "plot_learning_curve": "mlmethods.overfitting.plots",
        "plot_noise_profile": "mlmethods.overfitting.plots",
        "plot_spectrum": "mlmethods.overfitting.plots",
        "predict": "mlmethods.overfitting.theory",
        "ridge_for_target_cost": "mlmethods.overfitting.theory",
        "sphere_exponent": "mlmethods.overfitting.theory",
        "sphere_problem": "mlmethods.overfitting.problems",
        "sphere_spectrum": "mlmethods.overfitting.domains",
        "target_coefficients": "mlmethods.overfitting.empirical",
    },
)
