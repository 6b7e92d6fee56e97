"""Preparing recordings: repair, normalizing, mirroring, augmentation.

All of it takes recordings and returns new ones; the given ones are never changed.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "Augmenter": "mlmethods.motion.augment",
        "MirrorRule": "mlmethods.motion.mirror",
        "SensorSanitizer": "mlmethods.motion.sanitize",
        "SideMirror": "mlmethods.motion.mirror",
        "ZNormalizer": "mlmethods.motion.normalize",
        "jitter": "mlmethods.motion.augment",
        "magnitude_warp": "mlmethods.motion.augment",
        "mirror_side": "mlmethods.motion.mirror",
        "mirror_table": "mlmethods.motion.mirror",
        "resample_speed": "mlmethods.motion.augment",
        "scale_channels": "mlmethods.motion.augment",
        "time_warp": "mlmethods.motion.augment",
    },
)
