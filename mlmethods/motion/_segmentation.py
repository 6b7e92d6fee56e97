"""The base class of networks that name every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from mlmethods.motion._framewise import FramewiseEstimator
from mlmethods.motion._imported import set_up_imported
from mlmethods.motion._network import NetworkEstimator
from mlmethods.motion._window_passes import AllWindows, class_probabilities, softmax
from mlmethods.motion.contract import NetworkConfig
from mlmethods.motion.recording import Recording

__all__ = ["ImportedSegmentation", "SegmentationEstimator"]


class SegmentationEstimator(FramewiseEstimator, NetworkEstimator):
    """A network that names every frame; the base class of such models.

    Attributes
    ----------
    config_ : NetworkConfig
        The network.
    params_ : dict of str to ndarray
        Its parameters.
    """

    def predict_logits(self, x: Any, mask: Any = None) -> Any:
        """Return what the network says of frames that are already normalized.

        Parameters
        ----------
        x : array of shape (B, T, D)
            Frames.
        mask : bool array of shape (B, T), optional
            Which of them are there; those in front.

        Returns
        -------
        float32 array of shape (S, B, T, C)
            Logits of all stages. :class:`ASRF` returns class logits [B, T, C] and
            boundary logits [B, T] of its last stages.

        Raises
        ------
        InvalidInputError
            If a shape does not fit.
        """
        self._check_fitted()
        return self._network().logits(self.params_, x, mask)

    def _scores(self, prepared: Sequence[Recording]) -> list[Any]:
        network = self._network()
        if self._whole:
            return [
                self._last(network.logits(self.params_, item.data[None]))
                for item in prepared
            ]
        windows = AllWindows(prepared, self.window)
        return list(
            class_probabilities(
                windows, lambda x, mask: network.logits(self.params_, x, mask)[-1]
            )
        )

    def _last(self, logits: Any) -> Any:
        """Return the probabilities [T, C] of one recording by its last stage."""
        return softmax(logits[-1][0])


class ImportedSegmentation(SegmentationEstimator):
    """A model whose weights in PyTorch's layout are known."""

    _kind: ClassVar[Any]

    @classmethod
    def from_torch_state_dict(
        cls,
        mapping: Mapping[str, Any],
        config: NetworkConfig | None = None,
        *,
        classes: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        fs: float = 100.0,
        **options: Any,
    ) -> Self:
        """Return a model with the weights of the public PyTorch code.

        Parameters
        ----------
        mapping : mapping of str to array
            Weights under their names there; torch is not needed.
        config : NetworkConfig, optional
            The network; by default its sizes are those of the weights.
        classes, feature_names : sequence of str, optional
            In the order of the outputs and the inputs; numbered by default.
        fs : float
            Frames per second of the recordings that it is for.
        **options
            Arguments of the constructor, such as ``normalizer``.

        Raises
        ------
        CheckpointError
            If a name is unknown or missing, or a shape does not fit; it lists them.
        """
        model = cls(**options)
        arrays = {name: np.asarray(array) for name, array in mapping.items()}
        found, params = model._engine().from_torch(cls._kind, arrays, config)
        sizes = {n: getattr(found, n) for n in model.get_params() if hasattr(found, n)}
        model.set_params(**sizes)
        set_up_imported(
            model,
            found,
            params,
            classes=classes,
            feature_names=feature_names,
            fs=fs,
        )
        return model
