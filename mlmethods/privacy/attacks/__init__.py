"""Attacks on trained networks and on shared gradients.

Membership attacks guess who was in the training set; inversion attacks rebuild the
examples behind a gradient. An attack that fails proves nothing: each has a control
without noise that must succeed first.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "Inversion": "mlmethods.privacy.attacks.inversion",
        "MembershipResult": "mlmethods.privacy.attacks.membership",
        "ReconstructionMetrics": "mlmethods.privacy.attacks.metrics",
        "Shadows": "mlmethods.privacy.attacks.shadows",
        "confidence_threshold": "mlmethods.privacy.attacks.membership",
        "dlg": "mlmethods.privacy.attacks.inversion",
        "entropy_threshold": "mlmethods.privacy.attacks.membership",
        "first_layer_exact": "mlmethods.privacy.attacks.first_layer",
        "idlg": "mlmethods.privacy.attacks.inversion",
        "invert_gradients": "mlmethods.privacy.attacks.inversion",
        "lira": "mlmethods.privacy.attacks.membership",
        "logit_confidence": "mlmethods.privacy.attacks.shadows",
        "loss_threshold": "mlmethods.privacy.attacks.membership",
        "reconstruction_metrics": "mlmethods.privacy.attacks.metrics",
        "train_shadows": "mlmethods.privacy.attacks.shadows",
    },
)
