"""Networks that recognize motions, as modules and pure functions of JAX.

Importing this package does not import jax; touching its first name does.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "ASFormerModule": "mlmethods_jax.motion.asformer",
        "ASRFModule": "mlmethods_jax.motion.asrf",
        "BiGRUModule": "mlmethods_jax.motion.taggers",
        "CNNModule": "mlmethods_jax.motion.cnn",
        "LASDecoder": "mlmethods_jax.motion.seq2seq",
        "MSTCNModule": "mlmethods_jax.motion.mstcn",
        "PyramidBiGRU": "mlmethods_jax.motion.encoders",
    },
)
