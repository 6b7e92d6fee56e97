"""Sums of von Mises-Fisher draws, one about each gradient, from one normal vector."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from mlmethods.errors import InvalidInputError
from mlmethods_jax.ops._draws import normal, normal_like, uniform
from mlmethods_jax.ops._precision import as_dtype, compute_dtype, scope
from mlmethods_jax.ops._rejection import (
    CANDIDATES,
    first_accepted,
    log1p_less,
)
from mlmethods_jax.ops.privacy import (
    _Polar,
    _polar,
    _scaled,
    _sum_last,
    _tangent,
    _valid_kappa,
    _work_dtype,
)

__all__ = [
    "Aggregation",
    "check_aggregation",
    "chi",
    "inspect_rows",
    "row_squares",
    "sums_of_directions",
    "unit_rows",
    "vmf_aggregate",
]

Aggregation: TypeAlias = Literal["auto", "exact", "naive"]
"""How a sum is drawn: at once where that is faster, wherever possible, or row by row."""

# Rows whose sum shares one normal vector: work grows with it, normals fall.
_BLOCK_ROWS = 16
_MOST_ROWS = 32
# Rows of so many entries are drawn one after another.
_LONG = 4096
# More blocks than these go through a loop, which compiles faster.
_UNROLLED = 4
# The sum at once needs these, so that what is orthogonal to b rows is never short.
_LEAST_RATIO, _LEAST_DIMENSION = 4, 32
# Below this dimension drawing row by row is as fast.
_WORTHWHILE = 512
# Rounding moves K by about 1e-7, and the covariance of a draw by up to this times it.
_MOST_INVERSE = 1000.0
# Squared norms between these neither lose digits nor overflow in float32.
_LEAST_SQUARE, _MOST_SQUARE = 1e-24, 1e24

_dot = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


class _Gram(NamedTuple):
    """Inner products of the unit rows of a block.

    Attributes
    ----------
    scale : array (b,)
        One over the norm of each row; 0 for rows without direction.
    factor, inverse : arrays (b, b)
        Lower Cholesky factor of the inner products, and its inverse.
    ok : bool array ()
        Whether the factor is accurate enough.
    """

    scale: Array
    factor: Array
    inverse: Array
    ok: Array


def check_aggregation(value: str) -> str:
    """Return `value` if it names a way to draw sums."""
    if value not in get_args(Aggregation):
        raise InvalidInputError(
            f"aggregation must be one of {', '.join(get_args(Aggregation))}, got {value!r}"
        )
    return value


def _block_rows(size: int) -> int:
    """Return how many rows share a normal vector, for `size` rows."""
    if size <= _BLOCK_ROWS:
        return size
    divisors = [b for b in range(_BLOCK_ROWS // 2, _MOST_ROWS + 1) if size % b == 0]
    return min(divisors, key=lambda b: abs(b - _BLOCK_ROWS), default=_BLOCK_ROWS)


def chi(key: Array, dof: Array) -> tuple[Array, Array]:
    """Return square roots of chi-square draws, ``dof >= 2``, and which are accepted.

    G. Marsaglia, W. W. Tsang, "A simple method for generating gamma variables", ACM
    TOMS 26 (2000) 363-372; with e = x / sqrt(9 d) the terms of the logarithm that grow
    with d cancel analytically, so that float32 suffices.
    """
    d = dof / 2 - 1 / 3
    spread = 1 / jnp.sqrt(9 * d)

    def propose(key: Array) -> tuple[Array, Array]:
        key_normal, key_accept = jax.random.split(key)
        shape = (CANDIDATES, *dof.shape)
        x = normal(key_normal, shape, dof.dtype)
        e = jnp.maximum(spread[None] * x, -0.999)
        cubic = 3 * (log1p_less(e) - e * e) - e * e * e
        log_ratio = x * x / 2 + d[None] * cubic
        log_u = jnp.log(uniform(key_accept, shape, dof.dtype))
        return e, (log_u <= log_ratio) & (spread[None] * x > -0.999)

    e, done, _ = first_accepted(key, propose, dof, jnp.ones(dof.shape, bool))
    return jnp.sqrt(2 * d * (1 + e) ** 3), done


def _gram(pieces: Sequence[Array], directed: Array) -> _Gram:
    """Return the inner products of the unit rows of a block, in pieces [b, p_l]."""
    K = functools.reduce(jnp.add, [_dot("ip,jp->ij", x, x) for x in pieces])
    eye = jnp.eye(len(K), dtype=K.dtype)
    scale = jnp.where(directed, lax.rsqrt(jnp.where(directed, jnp.diagonal(K), 1)), 0)
    # a row without direction is orthogonal to all others, and so is its unit vector
    K = K * scale[:, None] * scale[None] * (1 - eye) + eye
    factor = jnp.linalg.cholesky(K, symmetrize_input=False)
    inverse = lax.linalg.triangular_solve(factor, eye, left_side=True, lower=True)
    # a bound on one over the smallest eigenvalue; NaN where K is singular
    bound = jnp.sum(inverse * inverse)
    return _Gram(scale, factor, inverse, bound <= _MOST_INVERSE)


class _Small(NamedTuple):
    """What is drawn for blocks besides their long normal vectors.

    Attributes
    ----------
    inside : array (..., b, b)
        The parts of b normal vectors within the span of the rows, one a column.
    lower : array (..., b, b)
        Bartlett's factor: inner products of the parts orthogonal to all rows.
    done : bool array (...)
        Whether every draw was accepted.
    """

    inside: Array
    lower: Array
    done: Array


def _draw_small(key: Array, directed: Array, p: np.ndarray, dtype: np.dtype) -> _Small:
    """Draw for blocks of rows, `directed` (groups, n, b) where they have a direction."""
    groups, n, b = directed.shape
    key_normal, key_length = jax.random.split(key)
    inside, below = normal(key_normal, (2, groups, n, b, b), dtype)
    rank = jnp.sum(directed, axis=2, keepdims=True).astype(dtype)
    free = jnp.asarray(np.subtract.outer(p, np.arange(b)), dtype)
    length, done = chi(key_length, free[:, None] - rank)
    diagonal = jnp.expand_dims(length, -1) * jnp.eye(b, dtype=dtype)[None, None]
    return _Small(inside, jnp.tril(below, -1) + diagonal, jnp.all(done, axis=2))


def _draw_at_once(
    key: Array,
    pieces: Sequence[Array],
    gram: _Gram,
    drawn: _Small,
    cosine: Array,
    sine: Array,
    weights: Array,
) -> list[Array]:
    """Return the weighted sum of draws about the rows of a block, in pieces [b, p_l].

    With unit rows M = R U (R lower triangular, U orthonormal) a normal vector z of row i
    is ``U^T a_i`` plus a part orthogonal to all rows. Only lengths and inner products of
    these parts enter the lengths of the tangents, and they are Bartlett's factor of a
    Wishart matrix; the sum of the parts points in a uniform direction.
    """
    directed = gram.scale > 0
    inside = jnp.where(directed[:, None], drawn.inside, 0)
    lower = drawn.lower
    g = normal_like(key, [x[0] for x in pieces])
    along = _dot("ij,ji->i", gram.factor, inside)
    squares = jnp.sum(inside * inside, axis=0) + jnp.sum(lower * lower, axis=1)
    tangent = weights * sine / jnp.sqrt(squares - along * along)
    radius = jnp.sqrt(jnp.sum(_dot("ij,i->j", lower, tangent) ** 2))
    # g less its part in the span of the rows
    products = [_dot("bp,p->b", x, y) for x, y in zip(pieces, g, strict=True)]
    g_span = _dot("ij,j->i", gram.inverse, sum(products[1:], products[0]) * gram.scale)
    g_square = functools.reduce(jnp.add, [_sum_last(y * y) for y in g])
    stretch = radius / jnp.sqrt(g_square - jnp.sum(g_span * g_span))
    in_span = _dot("ji,i->j", inside, tangent) - stretch * g_span
    coefficients = weights * cosine - tangent * along
    coefficients += _dot("ji,j->i", gram.inverse, in_span)
    coefficients = jnp.where(drawn.done, coefficients * gram.scale, jnp.nan)
    return [
        _dot("b,bp->p", coefficients, x) + stretch * y
        for x, y in zip(pieces, g, strict=True)
    ]


def _for_each_block(function: Callable[..., Any], *blocks: Any) -> Any:
    """Apply `function` to every block; the results do not depend on how.

    Blocks one after another stay in the cache. Where there are several devices, blocks
    may lie on different ones, and go side by side.
    """
    if jax.device_count() > 1:
        return jax.vmap(function)(*blocks)
    count = len(jax.tree.leaves(blocks)[0])
    if count > _UNROLLED:
        return lax.map(lambda block: function(*block), blocks)
    # a loop would copy each block out of its array
    found = [
        function(*jax.tree.map(operator.itemgetter(i), blocks)) for i in range(count)
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


def row_squares(leaves: Sequence[Array]) -> Array:
    """Return the squared norms of rows in pieces [b, p_l]."""
    # XLA sums a row in many lanes: the error at p = 1e7 was measured as 4e-8
    return functools.reduce(jnp.add, [jnp.sum(x * x, axis=-1) for x in leaves])


def unit_rows(leaves: Sequence[Array], directed: Array) -> Array:
    """Return rows in pieces as unit vectors [b, p]; the first axis where not `directed`."""
    rows = jnp.concatenate(leaves, axis=-1)
    first = jnp.zeros_like(rows[:1]).at[:, 0].set(1)
    unit, _ = _scaled(jnp.where(directed[:, None], rows, first))
    return unit / jnp.sqrt(_sum_last(unit * unit))[:, None]


def _draw_each(
    key: Array, leaves: Sequence[Array], polar: _Polar, directed: Array, weights: Array
) -> list[Array]:
    """Return the weighted sum of draws, each from a normal vector of its own."""
    ends = np.cumsum([leaf.shape[-1] for leaf in leaves])

    def draw(key: Array, rows: Any) -> Array:
        leaves, cosine, sine, directed, weights = rows
        # any direction will do where there is none: the draw is uniform
        unit = unit_rows(leaves, directed)
        tangent, length = _tangent(key, unit)
        draws = cosine[:, None] * unit + sine[:, None] * tangent
        draws = jnp.where((length > 0)[:, None], draws, jnp.nan)
        kept = jnp.where((weights != 0)[:, None], draws, 0)
        return _dot("b,bp->p", weights, kept)

    rows = (list(leaves), polar.cosine, polar.sine, directed, weights)
    if ends[-1] < _LONG:
        total = draw(key, rows)
    else:
        # one long row stays in the cache, all of them do not
        def add(total: Array, xs: Any) -> tuple[Array, None]:
            key, row = xs
            return total + draw(key, jax.tree.map(lambda x: x[None], row)), None

        keys = jax.random.split(key, len(weights))
        zero = jnp.zeros(ends[-1], weights.dtype)
        total, _ = lax.scan(add, zero, (keys, rows))
    return jnp.split(total, ends[:-1].tolist())


def inspect_rows(leaves: Sequence[Array]) -> tuple[Array, Array]:
    """Return which rows have a direction, and which the sum at once can take."""
    squares = row_squares(leaves)
    inside = (squares >= _LEAST_SQUARE) & (squares <= _MOST_SQUARE)

    def look_again() -> tuple[Array, Array]:
        # maxima neither under- nor overflow, and pass NaN on
        largest = [jnp.max(jnp.abs(x), axis=-1) for x in leaves]
        most = functools.reduce(jnp.maximum, largest)
        return (most > 0) & (most < jnp.inf), inside | (most == 0)

    return lax.cond(jnp.all(inside), lambda: (inside, inside), look_again)


def _draw_polar(
    key: Array, dimensions: Sequence[int], kappa: Array, directed: Array
) -> list[_Polar]:
    """Draw the cosines of all groups, `kappa` and `directed` of shape (groups, b).

    One program draws for all dimensions from 4 on: their samplers differ in numbers.
    """
    valid = _valid_kappa(kappa)
    lanes = jnp.where(directed, kappa, 0)
    found: dict[int, _Polar] = {}
    for kind, kind_key in zip((2, 3, 4), jax.random.split(key, 3), strict=True):
        members = [i for i, p in enumerate(dimensions) if min(p, 4) == kind]
        if not members:
            continue
        chosen = np.asarray(members)
        excess = np.asarray([dimensions[i] - 3.0 for i in members])
        shape = (len(members), kappa.shape[1])
        polar = _polar(
            kind_key,
            kind,
            jnp.broadcast_to(jnp.asarray(excess, kappa.dtype)[:, None], shape),
            lanes[chosen],
            valid[chosen],
        )
        cosine = jnp.where(polar.accepted, polar.cosine, jnp.nan)
        for row, i in enumerate(members):
            found[i] = _Polar(
                cosine[row],
                polar.versine[row],
                polar.sine[row],
                polar.accepted[row],
                polar.rounds,
            )
    return [found[i] for i in range(len(dimensions))]


def sums_of_directions(
    key: Array,
    groups: Sequence[Sequence[Array]],
    kappa: Array,
    weights: Array,
    *,
    aggregation: str = "auto",
) -> list[list[Array]]:
    """Return ``sum_i weights_i y_i`` of each group, y_i von Mises-Fisher about row i.

    Parameters
    ----------
    key : key
        Consumed.
    groups : sequence of sequences of arrays (b, p_l)
        One direction is the concatenation of a row of all leaves of a group; float32 or
        float64. Rows of zero norm and rows that are not finite are released as uniform
        directions.
    kappa : array (groups, b)
        Concentrations; NaN comes out where one is negative or not finite.
    weights : array (b,)
        Rows with weight 0 contribute exactly nothing, whatever they hold.
    aggregation : {"auto", "exact", "naive"}
        Static.

    Returns
    -------
    list of lists of arrays (p_l,)
    """
    size = len(weights)
    block = _block_rows(size)
    least = _WORTHWHILE if aggregation == "auto" else _LEAST_DIMENSION
    least = max(_LEAST_RATIO * block, least)
    dimensions = [sum(leaf.shape[-1] for leaf in leaves) for leaves in groups]
    at_once = [aggregation != "naive" and p >= least for p in dimensions]
    # what is small is drawn for all groups together, which compiles once
    key_cosine, key_small, *keys = jax.random.split(key, 2 + len(groups))
    found = [inspect_rows(leaves) for leaves in groups]
    directed = jnp.stack([rows for rows, _ in found])
    polars = _draw_polar(key_cosine, dimensions, kappa, directed)
    kept = directed & (weights != 0)[None]
    chosen = [i for i, yes in enumerate(at_once) if yes]
    small: dict[int, _Small] = {}
    if chosen:
        blocks = jax.vmap(functools.partial(_cut, block=block))(
            kept[np.asarray(chosen)]
        )
        p = np.asarray([dimensions[i] for i in chosen])
        drawn = _draw_small(key_small, blocks, p, kappa.dtype)
        for row, i in enumerate(chosen):
            small[i] = jax.tree.map(lambda x, row=row: x[row], drawn)
    sums = []
    for i, leaves in enumerate(groups):
        dtype = leaves[0].dtype
        args = (leaves, _cast(polars[i], dtype), directed[i], weights.astype(dtype))
        if at_once[i]:
            drawn = _cast(small[i], dtype)
            sums.append(_sum_at_once(keys[i], *args, drawn, found[i][1], block))
        else:
            sums.append(_draw_each(keys[i], *args))
    return sums


def _cast(tree: Any, dtype: np.dtype) -> Any:
    """Return the floating arrays of a tree in `dtype`: groups may differ in theirs."""
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def _cut(x: Array, block: int) -> Array:
    """Return rows in blocks, (n, block, ...), with zeros for rows that are missing."""
    extra = -len(x) % block
    widths = [(0, extra)] + [(0, 0)] * (x.ndim - 1)
    x = jnp.pad(x, widths) if extra else x
    return x.reshape(-1, block, *x.shape[1:])


def _sum_at_once(
    key: Array,
    leaves: Sequence[Array],
    polar: _Polar,
    directed: Array,
    weights: Array,
    drawn: _Small,
    nice: Array,
    block: int,
) -> list[Array]:
    """Return the weighted sum of a group, row by row where its rows do not allow more."""
    taken = weights != 0
    cut = functools.partial(_cut, block=block)
    blocks = [cut(leaf) for leaf in leaves]
    gram = _for_each_block(_gram, blocks, cut(taken & directed))

    def at_once(key: Array) -> list[Array]:
        # a row without direction is all tangent; one with weight 0 is not there
        cosine = jnp.where(directed | jnp.isnan(polar.cosine), polar.cosine, 0)
        sine = jnp.where(directed, polar.sine, 1)
        parts = [cut(jnp.where(taken, x, 0)) for x in (cosine, sine)]
        keys = jax.random.split(key, len(gram.ok))
        sums = _for_each_block(
            _draw_at_once, keys, blocks, gram, drawn, *parts, cut(weights)
        )
        return [jnp.sum(part, axis=0) for part in sums]

    def each(key: Array) -> list[Array]:
        return _draw_each(key, leaves, polar, directed, weights)

    return lax.cond(jnp.all(nice) & jnp.all(gram.ok), at_once, each, key)


@functools.partial(jax.jit, static_argnames="aggregation")
def _aggregate(
    key: Array, gradients: Array, kappa: Array, weights: Array, aggregation: str
) -> Array:
    work = _work_dtype(gradients.dtype)
    rows = gradients.astype(work)
    kappa = jnp.broadcast_to(kappa.astype(work), len(rows))
    weights = jnp.broadcast_to(weights.astype(work), len(rows))
    sums = sums_of_directions(
        key, [[rows]], kappa[None], weights, aggregation=aggregation
    )
    return sums[0][0]


def vmf_aggregate(
    key: Key[Array, ""],
    gradients: Float[Array, "b p"],
    kappa: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    aggregation: Aggregation = "auto",
) -> Float[Array, " p"]:
    """Draw a weighted sum of von Mises-Fisher vectors, one about each gradient.

    The result has exactly the law of ``sum_i weights_i y_i`` with independent unit
    vectors y_i of density proportional to ``exp(kappa g_i.y / |g_i|)``. It takes one
    normal vector of p entries for 16 gradients in place of one for each.

    Replacing one gradient (replace-one adjacency; the unit is one example) changes the
    log-density of its y_i, and with it that of the sum, by at most ``2 kappa``.

    Parameters
    ----------
    key : key
        Consumed.
    gradients : array of shape (b, p)
        One gradient a row, p >= 2; only directions count. A row that is zero or not
        finite is released as a uniform direction.
    kappa : float or array of shape (b,)
        Concentrations, 0 (uniform) to 1e8.
    weights : array of shape (b,), optional
        1 by default; may be a mask. Rows with weight 0 contribute exactly nothing.
    aggregation : {"auto", "exact", "naive"}, default="auto"
        ``"naive"`` draws every y_i; ``"exact"`` draws the sum at once wherever
        ``p >= max(4 b, 32)`` for blocks of b rows (16 in general), ``"auto"`` where
        that is also faster. The law is the same.

    Returns
    -------
    array of shape (p,)
        In the dtype of `gradients`, but float32 for narrower ones. NaN if a row of
        nonzero weight has a `kappa` that is negative or not finite, or a rejection
        sampler did not end: an unaccepted draw is never returned.

    Raises
    ------
    InvalidInputError
        If `gradients` has not two axes and p >= 2, `kappa` or `weights` does not
        broadcast to the rows, or `aggregation` is another word.

    Notes
    -----
    With unit rows M and K = M M^T = R R^T, what a sum needs of the normal vectors of its
    terms are their parts in the span of M (b numbers each) and the inner products of
    the rest, which follow a Wishart law drawn by Bartlett's decomposition; the sum of
    the rest is a length times one uniform direction. Work is b p a row, memory that of
    `gradients`. If K is too near to singular for its precision (equal or almost
    equal directions) or norms lie outside 1e-12 to 1e12, all rows are drawn one by one.
    On a mesh with rows over ``"data"``, blocks stay on their devices where the number
    of blocks is a multiple of the number of devices.

    References
    ----------
    T. W. Anderson, "An introduction to multivariate statistical analysis", 3rd ed.,
    Wiley 2003, section 7.2 (Bartlett's decomposition).

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.privacy import vmf_aggregate
    >>> gradients = jnp.eye(4, 1000)
    >>> total = vmf_aggregate(jax.random.key(0), gradients, 1e8)
    >>> bool(jnp.allclose(total, gradients.sum(0), atol=1e-3))
    True
    """
    check_aggregation(aggregation)
    dtype = compute_dtype(gradients)
    rows = as_dtype(gradients, dtype)
    if rows.ndim != 2 or rows.shape[1] < 2 or rows.shape[0] < 1:
        raise InvalidInputError(
            f"gradients must have shape (b, p) with p >= 2, got shape {rows.shape}"
        )
    lanes = as_dtype(kappa, compute_dtype(kappa))
    factors = as_dtype(1.0 if weights is None else weights, _work_dtype(dtype))
    for name, value in (("kappa", lanes), ("weights", factors)):
        if value.shape not in ((), (1,), (len(rows),)):
            raise InvalidInputError(
                f"{name} must broadcast to shape ({len(rows)},), got shape {value.shape}"
            )
    with scope(max(dtype, lanes.dtype, key=lambda x: x.itemsize)):
        return _aggregate(key, rows, lanes, factors, aggregation)
