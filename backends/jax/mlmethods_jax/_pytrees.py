"""Registration of the interface dataclasses as pytrees; imported once, by the ops."""

from __future__ import annotations

from typing import Any

import jax

from mlmethods.interfaces import KernelSpec

__all__: list[str] = []


def _flatten_with_keys(spec: KernelSpec) -> tuple[list[tuple[Any, Any]], Any]:
    children = [
        (jax.tree_util.GetAttrKey("bandwidth"), spec.bandwidth),
        (jax.tree_util.GetAttrKey("params"), spec.params),
        (jax.tree_util.GetAttrKey("children"), spec.children),
    ]
    return children, (spec.name, spec.static)


def _flatten(spec: KernelSpec) -> tuple[tuple[Any, Any, Any], Any]:
    leaves = (spec.bandwidth, spec.params, spec.children)
    return leaves, (spec.name, spec.static)


def _unflatten(aux: Any, children: Any) -> KernelSpec:
    name, static = aux
    bandwidth, params, specs = children
    return KernelSpec(
        name=name, bandwidth=bandwidth, params=params, static=static, children=specs
    )


jax.tree_util.register_pytree_with_keys(
    KernelSpec, _flatten_with_keys, _unflatten, _flatten
)
