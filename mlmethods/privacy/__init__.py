"""Directional privacy: private training that keeps the direction of the gradient.

Mechanisms on the directions of gradients (von Mises-Fisher, Purkayastha) and the usual
Gaussian one, behind one interface; an accountant that says what a run has spent, in
which unit and for which neighbors; private training of any network in three lines; and
the attacks and audits that test the claim on the same run (Faustini, Fernandes, Tonni,
McIver, Dras, 2022, arXiv:2211.04686).

A concentration kappa has no meaning without the dimension p of what is released: the
same kappa is far more noise for a larger network.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "Accountant": "mlmethods.privacy.accountant",
        "CoordinateLaplaceMechanism": "mlmethods.privacy.mechanisms",
        "DPTrainer": "mlmethods.privacy.trainer",
        "EuclideanLaplaceMechanism": "mlmethods.privacy.mechanisms",
        "GaussianMechanism": "mlmethods.privacy.mechanisms",
        "NoPrivacy": "mlmethods.privacy.mechanisms",
        "ProjectedNormalMechanism": "mlmethods.privacy.mechanisms",
        "PurkayasthaMechanism": "mlmethods.privacy.mechanisms",
        "VonMisesFisherMechanism": "mlmethods.privacy.mechanisms",
        "attacks": "",
        "audit": "",
        "bayes_capacity": "mlmethods.privacy.currencies",
        "calibrate": "mlmethods.privacy.calibration",
        "gdp_mu": "mlmethods.privacy.currencies",
        "kappa_for_gdp": "mlmethods.privacy.currencies",
        "make_private": "mlmethods.privacy.trainer",
        "plot_epsilon": "mlmethods.privacy.plots",
        "plot_frontier": "mlmethods.privacy.plots",
        "plot_reconstructions": "mlmethods.privacy.plots",
        "plot_roc": "mlmethods.privacy.plots",
        "signal_to_noise": "mlmethods.privacy.currencies",
        "vmf": "",
    },
)
