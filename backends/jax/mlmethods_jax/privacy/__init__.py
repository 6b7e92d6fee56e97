"""Private training as pure functions and gradient transformations of JAX.

Importing this package does not import jax; touching its first name does.
"""

from mlmethods._lazy import lazy_namespace

__getattr__, __dir__, __all__ = lazy_namespace(
    __name__,
    {
        "check_no_cross_example": "mlmethods_jax.privacy.isolation",
        "dp_gaussian": "mlmethods_jax.privacy.transforms",
        "dp_vmf": "mlmethods_jax.privacy.transforms",
        "gradient_mechanism": "mlmethods_jax.privacy.mechanisms",
        "invert_gradient": "mlmethods_jax.privacy.inversion",
        "per_example_gradients": "mlmethods_jax.training",
        "purkayastha_angle": "mlmethods_jax.privacy.purkayastha",
        "purkayastha_sample": "mlmethods_jax.privacy.purkayastha",
        "vmf_aggregate": "mlmethods_jax.privacy.aggregate",
        "vmf_cosine": "mlmethods_jax.ops.privacy",
        "vmf_sample": "mlmethods_jax.ops.privacy",
    },
)
