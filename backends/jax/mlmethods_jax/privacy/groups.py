"""Which parameters form one direction, and the rows of their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mlmethods.errors import InvalidInputError
from mlmethods.interfaces import PyTree
from mlmethods.privacy.contract import Granularity

__all__ = ["GradientRows", "group_dimensions", "leaf_groups", "leaf_paths"]


def _name(entry: Any) -> str:
    """Return the name that one step of a path has."""
    for field in ("key", "name", "idx"):
        if hasattr(entry, field):
            return str(getattr(entry, field))
    return str(entry)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def _is_trained(leaf: Any) -> bool:
    return jnp.issubdtype(_dtype(leaf), jnp.floating)


def leaf_paths(tree: PyTree) -> list[str]:
    """Return the path of each leaf, names joined by ``"."``, in the order of leaves.

    The ``value`` of a flax variable is not part of the name.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.privacy.groups import leaf_paths
    >>> leaf_paths({"dense": {"bias": jnp.zeros(2), "kernel": [jnp.zeros(1)]}})
    ['dense.bias', 'dense.kernel.0']
    """
    found = []
    for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]:
        last = path[-1] if path else None
        if isinstance(last, jax.tree_util.GetAttrKey) and last.name == "value":
            path = path[:-1]
        found.append(".".join(_name(entry) for entry in path))
    return found


def _by_prefix(
    paths: Sequence[str], trained: Sequence[int], prefixes: Sequence[Sequence[str]]
) -> tuple[tuple[int, ...], ...]:
    groups: list[list[int]] = [[] for _ in prefixes]
    for i in trained:
        owners = [
            number
            for number, group in enumerate(prefixes)
            if any(
                paths[i] == name or paths[i].startswith(name + ".") for name in group
            )
        ]
        if len(owners) != 1:
            raise InvalidInputError(
                f"granularity must put parameter {paths[i]!r} into exactly one group, "
                f"got {'groups ' + str(owners) if owners else 'none'}"
            )
        groups[owners[0]].append(i)
    for group, prefix in zip(groups, prefixes, strict=True):
        if not group:
            raise InvalidInputError(
                f"granularity must name parameters that exist, got {tuple(prefix)!r}; "
                f"there are {', '.join(paths[i] for i in trained)}"
            )
    return tuple(map(tuple, groups))


def leaf_groups(tree: PyTree, granularity: Granularity) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of the leaves in each direction group.

    Leaves that are not floating (and None, which is no leaf) are frozen: in no group.

    Parameters
    ----------
    tree : pytree of arrays
        Parameters, or gradients of examples with their structure.
    granularity : "model", "layer" or tuple of tuples of str
        One group, one for each array, or groups of path prefixes.

    Raises
    ------
    InvalidInputError
        If nothing is trained, a parameter is not in exactly one group, a group is empty,
        or `granularity` is something else.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.privacy.groups import leaf_groups
    >>> params = {"a": jnp.zeros(2), "b": {"c": jnp.zeros(3), "d": jnp.zeros(4)}}
    >>> leaf_groups(params, "layer"), leaf_groups(params, (("b",), ("a",)))
    (((0,), (1,), (2,)), ((1, 2), (0,)))
    """
    trained = [i for i, leaf in enumerate(jax.tree.leaves(tree)) if _is_trained(leaf)]
    if not trained:
        raise InvalidInputError("params must hold a floating array, got none")
    if granularity == "model":
        return (tuple(trained),)
    if granularity == "layer":
        return tuple((i,) for i in trained)
    if isinstance(granularity, str) or not isinstance(granularity, tuple | list):
        raise InvalidInputError(
            f"granularity must be 'model', 'layer' or groups of path prefixes, got "
            f"{granularity!r}"
        )
    return _by_prefix(leaf_paths(tree), trained, granularity)


def group_dimensions(params: PyTree, granularity: Granularity) -> tuple[int, ...]:
    """Return the number of parameters in each direction group.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from mlmethods_jax.privacy.groups import group_dimensions
    >>> group_dimensions({"a": jnp.zeros((2, 5)), "b": jnp.zeros(3)}, "model")
    (13,)
    """
    sizes = [int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(params)]
    groups = leaf_groups(params, granularity)
    return tuple(sum(sizes[i] for i in group) for group in groups)


class GradientRows(NamedTuple):
    """Gradients of examples, cut into direction groups.

    Attributes
    ----------
    leaves : list of arrays
        Leaves [b, ...] of the gradients, in the order of the tree.
    treedef : tree definition
        Of the gradients.
    groups : tuple of tuples of int
        The leaves in each group.
    """

    leaves: list[Any]
    treedef: Any
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, per_example: PyTree, granularity: Granularity) -> GradientRows:
        """Return the rows of gradients with leaves [b, ...].

        Raises
        ------
        InvalidInputError
            If a floating leaf is a scalar or leaves differ in their first axis; it names
            the leaf and its shape.
        """
        leaves, treedef = jax.tree.flatten(per_example)
        groups = leaf_groups(per_example, granularity)
        trained = sorted(i for group in groups for i in group)
        size = np.shape(leaves[trained[0]])[:1]
        for i in trained:
            shape = np.shape(leaves[i])
            if not shape or shape[:1] != size:
                name = leaf_paths(per_example)[i]
                expected = f"of length {size[0]}" if size and shape else "for examples"
                raise InvalidInputError(
                    f"gradients must have a leading axis {expected}, got leaf {name!r} "
                    f"of shape {shape}"
                )
        return cls(leaves, treedef, groups)

    @property
    def size(self) -> int:
        """Number of examples."""
        return int(self.leaves[self.groups[0][0]].shape[0])

    def group(self, number: int) -> list[Array]:
        """Return the leaves of a group as rows [b, p_l], at least float32."""
        found = []
        for i in self.groups[number]:
            leaf = jnp.asarray(self.leaves[i])
            work = np.float32 if leaf.dtype.itemsize < 4 else leaf.dtype
            found.append(leaf.reshape(leaf.shape[0], -1).astype(work))
        widest = max((leaf.dtype for leaf in found), key=lambda dtype: dtype.itemsize)
        return [leaf.astype(widest) for leaf in found]

    def join(self, sums: Sequence[Sequence[Array]]) -> PyTree:
        """Return a tree without the leading axis from sums [p_l], one list a group.

        Leaves in no group become zeros.
        """
        joined: list[Any] = [
            np.zeros(np.shape(leaf)[1:], _dtype(leaf)) for leaf in self.leaves
        ]
        for group, parts in zip(self.groups, sums, strict=True):
            for i, part in zip(group, parts, strict=True):
                joined[i] = part.reshape(self.leaves[i].shape[1:])
        return jax.tree.unflatten(self.treedef, joined)
