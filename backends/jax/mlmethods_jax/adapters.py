"""Networks of flax and plain functions as models, and access to their layers."""

from mlmethods_jax._layer_views import (
    LayerView,
    intermediate,
    layer_kernel,
    layer_names,
)
from mlmethods_jax._networks import (
    CallableModel,
    LinenModel,
    NnxModel,
    from_callable,
    from_linen,
    from_nnx,
)

__all__ = [
    "CallableModel",
    "LayerView",
    "LinenModel",
    "NnxModel",
    "from_callable",
    "from_linen",
    "from_nnx",
    "intermediate",
    "layer_kernel",
    "layer_names",
]
