"""The contract between the library and a backend.

A backend is a small object: metadata, array edges, and families of operations.
Operations take and return the backend's native arrays. Letters in shapes: n, m
samples; d features; c outputs; r regularisation values; b batch; t, s time;
h heads; e head size; p dimensions of a sphere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mlmethods.interfaces.arrays import Array, Key, PyTree, Seed
from mlmethods.interfaces.kernel import KernelSpec
from mlmethods.interfaces.results import SampleResult, SolveResult

__all__ = [
    "API_VERSION",
    "OPS",
    "Backend",
    "BackendInfo",
    "Center",
    "KernelOps",
    "LinalgOps",
    "NeuralOps",
    "PrivacyOps",
]

API_VERSION = 1
"""Version of this contract; a backend written for another one is refused."""

OPS = (
    "kernels.pairwise",
    "kernels.matvec",
    "kernels.grad",
    "kernels.agop",
    "linalg.ridge_solve",
    "linalg.ridge_cg",
    "linalg.eigh",
    "privacy.vmf_sample",
    "privacy.vmf_cosine",
    "privacy.vmf_log_normalizer",
    "privacy.log_norm_ratio",
    "privacy.mean_resultant",
    "privacy.clip_by_norm",
    "nn.attention",
    "nn.discounted_cumsum",
)
"""Names of the fifteen operations, ``family.operation``."""

Center = Literal["none", "per_output", "pooled"]


@dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """What a backend says about itself; reading it imports no accelerator library.

    Attributes
    ----------
    name : str
        The name by which it is selected, unique among installed backends.
    version : str
        Version of the distribution that provides it.
    api_version : int
        :data:`API_VERSION` that it was written for.
    ops : frozenset of str
        Members of :data:`OPS` that it implements; a family of which it implements
        none raises OperationNotSupportedError on access.
    engines : frozenset of str
        Methods whose engine it provides, such as ``"rfm"``.
    dtypes : frozenset of str
        Floating dtypes that it computes in.
    default_dtype : str
        What ``dtype="auto"`` means on it.
    description, url : str
        For people.
    default_priority : int
        The automatic choice takes the highest priority that can run.
    """

    name: str
    version: str
    api_version: int
    ops: frozenset[str]
    engines: frozenset[str] = frozenset()
    dtypes: frozenset[str] = frozenset({"float64"})
    default_dtype: str = "float64"
    description: str = ""
    url: str = ""
    default_priority: int = 0


class KernelOps(Protocol):
    """Kernel matrices, their products and their gradients.

    ``M`` is the Mahalanobis matrix, of shape [d, d], a diagonal [d], or None for the
    identity. ``Z=None`` means that the centres are `X` itself: diagonals are exact
    and a sample contributes nothing to its own gradient.
    """

    def pairwise(
        self,
        kernel: KernelSpec,
        X: Array,
        Z: Array | None = None,
        M: Array | None = None,
    ) -> Array:
        """Return the kernel matrix [n, m]."""
        ...

    def matvec(
        self,
        kernel: KernelSpec,
        X: Array,
        Z: Array | None,
        alpha: Array,
        M: Array | None = None,
        *,
        block_size: int | None = None,
    ) -> Array:
        """Return ``K(X, Z) @ alpha`` [n, c] for alpha [m, c], without [n, m]."""
        ...

    def grad(
        self,
        kernel: KernelSpec,
        X: Array,
        Z: Array | None,
        alpha: Array,
        M: Array | None = None,
        *,
        self_index: Array | None = None,
        block_size: int | None = None,
    ) -> Array:
        """Return the gradient at each x of ``sum_j alpha_j k(x, z_j)``, [n, c, d].

        `self_index` [n] names, for each x, the row of Z that is the same sample
        (-1: none); its pair contributes nothing where the kernel depends on x - z.
        Pairs at distance zero contribute nothing there, never NaN.
        """
        ...

    def agop(
        self,
        kernel: KernelSpec,
        X: Array,
        Z: Array | None,
        alpha: Array,
        M: Array | None = None,
        *,
        weights: Array | None = None,
        diagonal: bool = False,
        center: Center = "none",
        self_index: Array | None = None,
        block_size: int | None = None,
    ) -> Array:
        """Return the average gradient outer product [d, d], or its diagonal [d].

        The mean over the n samples, weighted by `weights` [n], of the sum over the c
        outputs of ``g g^T``. `center` subtracts the mean gradient of each output
        (``"per_output"``) or of all outputs together (``"pooled"``) first.
        """
        ...


class LinalgOps(Protocol):
    """Kernel ridge solves and the symmetric eigenproblem."""

    def ridge_solve(
        self,
        K: Array,
        Y: Array,
        reg: Any,
        *,
        weights: Array | None = None,
        solve_dtype: str = "float64",
        jitter: Literal["ladder", "none"] = "ladder",
    ) -> SolveResult:
        """Solve ``(K + reg I) alpha = Y`` for K [n, n], Y [n, c].

        With `weights` w [n] and s = sqrt(w): ``alpha = s (s K s + reg I)^-1 s Y``.
        Several `reg` [r] are solved in one call. `solve_dtype` is ``"float64"``,
        ``"float32"`` or ``"auto"`` (float32 with verified refinement, else float64).
        """
        ...

    def ridge_cg(
        self,
        kernel: KernelSpec,
        X: Array,
        Y: Array,
        reg: Any,
        M: Array | None = None,
        *,
        weights: Array | None = None,
        rank: int | None = None,
        tol: float = 1e-8,
        max_iter: int = 1000,
        block_size: int | None = None,
        solve_dtype: str = "float64",
    ) -> SolveResult:
        """Solve the same system without [n, n], by preconditioned CG.

        The preconditioner is a greedy pivoted Cholesky factor of `rank` columns.
        """
        ...

    def eigh(self, K: Array, *, dtype: str = "float64") -> tuple[Array, Array]:
        """Return eigenvalues [n], descending, and eigenvectors [n, n] as columns.

        The sign is fixed: the entry of largest magnitude in a column is positive.
        """
        ...


class PrivacyOps(Protocol):
    """The von Mises-Fisher distribution and norm clipping."""

    def vmf_sample(self, key: Key, mu: Array, kappa: Array) -> Array:
        """Draw unit vectors about `mu` [..., p] with concentration `kappa` [...].

        Exact for p from 2 to 1e7 and kappa from 0 to 1e8. A lane that did not finish
        is NaN, never an unaccepted draw.
        """
        ...

    def vmf_sample_with_status(self, key: Key, mu: Array, kappa: Array) -> SampleResult:
        """Draw as `vmf_sample` does, and say how each lane ended."""
        ...

    def vmf_cosine(
        self, key: Key, p: int, kappa: Array, shape: int | tuple[int, ...] = ()
    ) -> Array:
        """Draw cosines ``mu.y`` of such vectors y, without the vectors."""
        ...

    def vmf_log_normalizer(self, p: int, kappa: Array) -> Array:
        """Return ``log C_p(kappa)`` of the density ``C_p exp(kappa mu.y)``."""
        ...

    def log_norm_ratio(self, p: int, kappa1: Array, kappa2: Array) -> Array:
        """Return ``log C_p(kappa1) - log C_p(kappa2)`` to full relative precision."""
        ...

    def mean_resultant(self, p: int, kappa: Array) -> Array:
        """Return the expected cosine of a draw with its mean direction."""
        ...

    def clip_by_norm(self, g: Array, max_norm: Any) -> tuple[Array, Array]:
        """Scale the rows of g [b, p] to at most `max_norm`; also return norms [b]."""
        ...


class NeuralOps(Protocol):
    """Operations that networks share."""

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        bias: Array | None = None,
        mask: Array | None = None,
        key_mask: Array | None = None,
        query_segments: Array | None = None,
        key_segments: Array | None = None,
        causal: bool = False,
        scale: float | None = None,
        block_size: int | Literal["auto"] | None = None,
    ) -> Array:
        """Return softmax attention [b, t, h, e] of q [b, t, h, e], k, v [b, s, h, e].

        `bias` and the boolean `mask` (True: attend) broadcast to [b, h, t, s] on axes
        of size 1; `key_mask` is [b, s], segments [b, t] and [b, s]. `causal` is
        aligned at the bottom right. Rows with nothing to attend to give zeros. With
        `block_size` no [t, s] array exists, forward or backward; "auto" lets the
        backend choose for speed.
        """
        ...

    def discounted_cumsum(
        self,
        x: Array,
        discount: Any,
        done: Array | None = None,
        *,
        bootstrap: Array | None = None,
    ) -> Array:
        """Return ``y[t] = x[t] + discount (1 - done[t]) y[t + 1]`` for x [t, b, ...].

        ``y[T]`` is `bootstrap` [b, ...], zero by default; `done` is [t, b].
        """
        ...


class Backend(Protocol):
    """What the library needs of a backend. ``info.ops`` is the truth of what it can."""

    info: BackendInfo

    def is_available(self) -> Literal[True] | str:
        """Return True, or the reason why this backend cannot be used here."""
        ...

    def can_run(self, name: str, /, **facts: Any) -> Literal[True] | str:
        """Return True, or why `name` cannot run.

        `name` is an operation (``"kernels.agop"``) or an engine (``"engine:rfm"``).
        Facts are keywords such as ``n``, ``d``, ``dtype`` and ``kernel``.
        """
        ...

    def asarray(self, x: Any, *, dtype: str | None = None, device: Any = None) -> Array:
        """Bring `x` from the host to the device."""
        ...

    def to_numpy(self, x: PyTree) -> Any:
        """Bring a pytree of arrays back as NumPy arrays."""
        ...

    def key(self, seed: Seed) -> Key:
        """Return the random key of a seed."""
        ...

    def split(self, key: Key, n: int) -> Sequence[Key]:
        """Return `n` independent keys."""
        ...

    def synchronize(self, tree: PyTree) -> None:
        """Return when every array of `tree` has been computed."""
        ...

    @property
    def kernels(self) -> KernelOps:
        """The kernel operations."""
        ...

    @property
    def linalg(self) -> LinalgOps:
        """The linear algebra."""
        ...

    @property
    def privacy(self) -> PrivacyOps:
        """The privacy operations."""
        ...

    @property
    def nn(self) -> NeuralOps:
        """The operations of networks."""
        ...

    def engine(self, method: str) -> Any:
        """Return the engine of a method, as ``mlmethods.<method>.contract`` says."""
        ...
