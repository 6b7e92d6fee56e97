"""The privacy engine: private training, attacks on gradients and audits."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import ArrayLike, Key, NDArray, PyTree
from mlmethods.privacy.contract import MechanismConfig, Reconstruction, TrainerConfig
from mlmethods_jax.privacy import presets
from mlmethods_jax.privacy.mechanisms import release as release_rows
from mlmethods_jax.privacy.program import Loss, PrivateProgram, cross_entropy

__all__ = ["PrivacyEngine", "engine"]


class PrivacyEngine:
    """Private training, attacks on gradients and audits, compiled by JAX."""

    def release(
        self, key: Key, unit_vectors: ArrayLike, config: MechanismConfig
    ) -> NDArray:
        """Release each row of `unit_vectors` [n, p] on its own, scaled to norm 1."""
        rows: Any = unit_vectors
        return np.asarray(release_rows(key, rows, config))

    def program(
        self,
        model: Any,
        optimizer: Any,
        mechanism: MechanismConfig,
        config: TrainerConfig,
        loss: Loss | None = None,
    ) -> PrivateProgram:
        """Return a program.

        `model` is a flax.nnx module or what builds one from ``rngs``, a flax.linen
        module, or has ``init`` and ``apply``; `optimizer` is an optax transformation.
        """
        return PrivateProgram(model, optimizer, mechanism, config, loss)

    def pack_key(self, key: Key) -> NDArray:
        """Return the uint32 words of a key, for comparison and storage."""
        if not isinstance(key, jax.Array):
            raise InvalidInputError(f"key must be a JAX key, got {key!r}")
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        words = np.asarray(jax.random.key_data(key) if typed else key)
        if words.shape != (2,) or words.dtype != np.uint32:
            raise InvalidInputError(
                "key must be one threefry key of two uint32 words, got "
                f"{words.dtype} {list(words.shape)}"
            )
        return words

    def unpack_key(self, words: NDArray) -> Key:
        """Return the key of these words."""
        return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")

    def network(
        self, kind: str, shape: tuple[int, ...], num_classes: int, **options: Any
    ) -> Any:
        """Return a network by name, as `program` takes it."""
        return presets.network(kind, shape, num_classes, **options)

    def optimizer(self, name: str, learning_rate: float) -> Any:
        """Return an optimizer by name; equal arguments give the same object."""
        return presets.optimizer(name, learning_rate)

    def invert(
        self,
        key: Key,
        program: PrivateProgram,
        state: PyTree,
        gradient: PyTree,
        *,
        shape: tuple[int, ...],
        method: Literal["dlg", "idlg", "cosine"],
        **options: Any,
    ) -> Reconstruction:
        """Search inputs whose gradient is near `gradient` (a pytree like params)."""
        from mlmethods_jax.privacy.inversion import OutputLoss, invert_gradient

        core = program.core
        given = {} if core.loss is cross_entropy else {"loss": core.loss}
        if "num_classes" not in options:
            sample = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
            outputs = jax.eval_shape(core.evaluate, state.params, sample)
            options["num_classes"] = int(outputs.shape[-1])
        return invert_gradient(
            key,
            OutputLoss(core.evaluate, **given),
            state.params,
            gradient,
            shape=shape,
            method=method,
            **options,
        )

    def audit(
        self, method: str, in_scores: Any, out_scores: Any, **options: Any
    ) -> Any:
        """Return an auditing library's lower bound on epsilon from canaries' scores."""
        from mlmethods_jax.privacy.audit import lower_bound

        return lower_bound(method, in_scores, out_scores, **options)


engine = PrivacyEngine()
