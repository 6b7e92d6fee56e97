from __future__ import annotations

import jax
import numpy as np
import pytest
from jax import monitoring

from mlmethods_jax.testing import compile_guard, transfer_guard


def new_program():
    """Return a jitted function that nobody has compiled."""

    def cube(x):
        return x * x * x

    return jax.jit(cube)


@pytest.fixture
def x():
    return jax.device_put(np.arange(3, dtype=np.float32))


def test_compilations_are_counted_by_program_and_shape(x):
    cube = new_program()
    with compile_guard(max_compiles=1) as first:
        cube(x)
        cube(x)
    assert first.names == ["jit(cube)"]
    with compile_guard(max_compiles=0) as second:
        cube(x)
    assert second.count == 0
    with compile_guard() as other_shape:
        cube(np.ones((2, 2), np.float32))
    assert other_shape.count == 1


def test_too_many_compilations_fail_and_are_named(x):
    first, second = new_program(), new_program()
    with (
        pytest.raises(AssertionError, match=r"compiled 2 programs, at most 1.*cube"),
        compile_guard(max_compiles=1),
    ):
        first(x), second(x)


def test_nested_guards_count_for_themselves_and_leave_no_listener(x, monkeypatch):
    registered = []
    for name, change in (
        ("register_event_duration_secs_listener", registered.append),
        ("unregister_event_duration_listener", registered.remove),
    ):
        original = getattr(monitoring, name)

        def both(listener, original=original, change=change):
            change(listener)
            original(listener)

        monkeypatch.setattr(monitoring, name, both)
    outer_program, inner_program = new_program(), new_program()
    with compile_guard() as outer:
        outer_program(x)
        with compile_guard() as inner:
            inner_program(x)
            assert len(registered) == 2
    assert (outer.count, inner.count) == (2, 1)
    assert registered == []


@pytest.mark.parametrize("guard", [compile_guard(0), transfer_guard(0)])
def test_an_error_in_the_block_is_not_hidden(guard):
    x = jax.device_put(np.float32(1))

    def fail_after_breach():
        new_program()(x)
        float(x)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), guard:
        fail_after_breach()


READS = {
    "float": (float, ["__float__"]),
    "int": (int, ["__int__"]),
    "bool": (bool, ["__bool__"]),
    "item": (lambda x: x.item(), ["item"]),
    "tolist": (lambda x: x.tolist(), ["tolist"]),
    "device_get of two": (lambda x: jax.device_get((x, x)), ["__array__"] * 2),
    "none": (lambda x: x.shape, []),
}


@pytest.mark.parametrize("case", READS)
def test_reads_of_the_device_are_counted_once_each(case):
    read, expected = READS[case]
    scalar = jax.device_put(np.float32(2))
    with transfer_guard() as counted:
        read(scalar)
    assert counted.reads == expected
    read(scalar)
    assert counted.count == len(expected)


def test_too_many_reads_fail(x):
    scalar = jax.device_put(np.float32(2))
    with (
        pytest.raises(AssertionError, match=r"2 times, at most 1.*__float__, item"),
        transfer_guard(max_reads=1),
    ):
        float(scalar), scalar.item()


def test_an_implicit_upload_is_refused(x):
    add = jax.jit(lambda a, b: a + b)
    add(x, x)
    with transfer_guard(max_reads=0):
        add(x, x)
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device"),
        transfer_guard(),
    ):
        add(x, np.ones(3, np.float32))
