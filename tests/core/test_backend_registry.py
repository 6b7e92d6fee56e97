"""Discovery from real distribution metadata on the path, and every rule of choice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
import textwrap
import threading
import warnings

import pytest

import mlmethods
from mlmethods.backend import _registry
from mlmethods.errors import (
    BackendLoadError,
    BackendNotFoundError,
    BackendWarning,
    InvalidInputError,
    OperationNotSupportedError,
)
from mlmethods.interfaces import API_VERSION, BackendInfo

PLUGIN = """
from mlmethods.interfaces import BackendInfo

class Plugin:
    info = BackendInfo(
        name={name!r}, version="1", api_version={api_version},
        ops=frozenset({ops!r}), default_priority={priority},
    )
    def is_available(self):
        {available}
    def can_run(self, name, /, **facts):
        {can_run}

backend = Plugin()
def factory():
    return Plugin()
"""
_modules = itertools.count()


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Start from no cached discovery and no environment, and leave none behind."""
    monkeypatch.delenv("MLMETHODS_BACKEND", raising=False)
    mlmethods.refresh_backends()
    yield
    monkeypatch.undo()
    mlmethods.refresh_backends()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a distribution with a backend on the path."""

    def install(
        name="extra",
        *,
        distribution=None,
        code=None,
        attribute="backend",
        info_name=None,
        api_version=API_VERSION,
        ops=("kernels.agop",),
        priority=-5,
        available="return True",
        can_run="return True if name in self.info.ops else f'no {name} here'",
    ):
        module = f"registry_plugin_{next(_modules)}"
        distribution = distribution or f"dist-{name}"
        folder = tmp_path / module
        (folder / f"{distribution.replace('-', '_')}-1.0.dist-info").mkdir(parents=True)
        metadata = next(folder.iterdir())
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (metadata / "entry_points.txt").write_text(
            f"[{_registry.GROUP}]\n{name} = {module}:{attribute}\n"
        )
        if code is None:
            code = PLUGIN.format(
                name=info_name or name,
                api_version=api_version,
                ops=set(ops),
                priority=priority,
                available=available,
                can_run=can_run,
            )
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(folder)
        mlmethods.refresh_backends()
        return module

    return install


def names():
    return [info.name for info in mlmethods.list_backends()]


def test_the_built_in_backends_come_through_their_entry_points():
    assert {"jax", "numpy"} <= set(names())
    assert mlmethods.get_backend("numpy").info.name == "numpy"


def test_a_backend_is_listed_by_priority_and_loaded_once(install):
    install(priority=1000)
    assert names()[0] == "extra"
    assert mlmethods.get_backend("extra") is mlmethods.get_backend("extra")


@pytest.mark.parametrize("attribute", ["backend", "factory", "Plugin"])
def test_an_entry_point_is_an_object_a_factory_or_a_class(install, attribute):
    install(attribute=attribute)
    backend = mlmethods.get_backend("extra", "kernels.agop")
    assert not isinstance(backend, type)


def test_discovery_is_cached_until_refreshed(install, monkeypatch):
    assert "late" not in names()
    calls = []
    real = _registry.entry_points

    def counting(**keywords):
        calls.append(keywords)
        return real(**keywords)

    monkeypatch.setattr(_registry, "entry_points", counting)
    names(), names()
    assert calls == []
    install("late")
    assert "late" in names()
    assert len(calls) == 1


def test_argument_over_context_over_environment_over_automatic(install, monkeypatch):
    for name in ("one", "two", "three"):
        install(name)
    install("auto-choice", priority=1000)
    assert mlmethods.get_backend().info.name == "auto-choice"
    # The variable is read when a call is made, not when the package is imported.
    monkeypatch.setenv("MLMETHODS_BACKEND", "three")
    assert mlmethods.get_backend().info.name == "three"
    assert mlmethods.get_backend(None).info.name == "three"
    with mlmethods.use_backend("two") as chosen:
        assert mlmethods.get_backend() is chosen
        assert mlmethods.get_backend("auto") is chosen
        assert mlmethods.get_backend("one").info.name == "one"
        with mlmethods.use_backend("one"):
            assert mlmethods.get_backend().info.name == "one"
        assert mlmethods.get_backend() is chosen
    assert mlmethods.get_backend().info.name == "three"
    for automatic in ("auto", ""):
        monkeypatch.setenv("MLMETHODS_BACKEND", automatic)
        assert mlmethods.get_backend().info.name == "auto-choice"


def test_an_object_is_used_as_it_is(install):
    install()
    backend = mlmethods.get_backend("extra")
    assert mlmethods.get_backend(backend, "kernels.agop") is backend
    with mlmethods.use_backend(backend):
        assert mlmethods.get_backend() is backend


def test_the_context_ends_after_an_exception(install):
    install("two", priority=1000)
    install("one")

    def inside():
        with mlmethods.use_backend("one"):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        inside()
    assert mlmethods.get_backend().info.name == "two"


def test_the_automatic_choice_meets_the_requirements_and_is_logged(install, caplog):
    install("first", priority=2000, ops=("linalg.eigh",))
    install("second", priority=1000, ops=("kernels.agop",))
    with caplog.at_level(logging.INFO, logger="mlmethods.backend"):
        chosen = mlmethods.get_backend("auto", "kernels.agop")
    assert chosen.info.name == "second"
    assert "second" in caplog.text
    assert mlmethods.get_backend("auto", "linalg.eigh").info.name == "first"


def test_facts_reach_can_run(install):
    install(
        "small",
        priority=1000,
        can_run="return True if facts['n'] <= 10 else f\"n={facts['n']} is too much\"",
    )
    assert mlmethods.get_backend("auto", "kernels.agop", n=5).info.name == "small"
    with pytest.raises(OperationNotSupportedError, match="n=50 is too much"):
        mlmethods.get_backend("small", "kernels.agop", n=50)


@pytest.mark.parametrize("request_by", ["argument", "object", "context", "environment"])
def test_an_explicit_request_never_falls_back(install, monkeypatch, request_by):
    install("narrow", ops=("linalg.eigh",))
    install("able", ops=("kernels.agop",))
    argument = {
        "argument": "narrow",
        "object": mlmethods.get_backend("narrow"),
    }.get(request_by, "auto")
    context = contextlib.nullcontext()
    if request_by == "context":
        context = mlmethods.use_backend("narrow")
    elif request_by == "environment":
        monkeypatch.setenv("MLMETHODS_BACKEND", "narrow")
    with context, pytest.raises(OperationNotSupportedError) as caught:
        mlmethods.get_backend(argument, "kernels.agop")
    message = str(caught.value)
    assert "'narrow' cannot run kernels.agop: no kernels.agop here" in message
    able = message.split("backends that can: ")[1].split(", ")
    assert {"able", "jax", "numpy"} <= set(able)
    assert "narrow" not in able


def test_nothing_can_run_it():
    with pytest.raises(OperationNotSupportedError, match=r"engine:none.*numpy: "):
        mlmethods.get_backend("auto", "engine:none")


def test_an_unknown_name_lists_the_installed_ones(monkeypatch):
    with pytest.raises(BackendNotFoundError, match=r"'nimpy'.*jax, numpy"):
        mlmethods.get_backend("nimpy")
    monkeypatch.setenv("MLMETHODS_BACKEND", "nimpy")
    with pytest.raises(BackendNotFoundError, match="MLMETHODS_BACKEND=nimpy"):
        mlmethods.get_backend()


@pytest.mark.parametrize("bad", [3, object(), ["numpy"]])
def test_what_is_no_backend_is_refused(bad):
    with pytest.raises(InvalidInputError, match="backend must be"):
        mlmethods.get_backend(bad)


BROKEN = {
    "import fails": (
        {"code": "raise RuntimeError('half installed')"},
        "half installed",
    ),
    "attribute is missing": ({"attribute": "nothing"}, "nothing"),
    "factory fails": (
        {"code": "def backend():\n    raise OSError('no device')"},
        "no device",
    ),
    "info is no info": ({"code": "class backend:\n    info = 3"}, "api_version"),
    "another contract": ({"api_version": 99}, f"version 99.*version {API_VERSION}"),
    "another name": ({"info_name": "other"}, "calls itself 'other'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_reported_once_and_hides_nobody(install, case):
    options, fragment = BROKEN[case]
    install("broken", priority=5000, **options)
    with pytest.warns(BackendWarning, match=fragment) as caught:
        assert {"jax", "numpy"} <= set(names())
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "broken" not in names()
        mlmethods.get_backend("auto", "kernels.agop")
    for _ in range(2):
        with pytest.raises(BackendLoadError, match=fragment) as error:
            mlmethods.get_backend("broken")
    assert "'broken'" in str(error.value)
    # A refresh looks again, and says so again.
    mlmethods.refresh_backends()
    with pytest.warns(BackendWarning, match=fragment):
        names()


def test_a_broken_import_is_not_repeated(install):
    module = install("broken", code="raise RuntimeError('half installed')")
    with pytest.warns(BackendWarning):
        names()
    sys.modules[module] = object()  # a second import would now fail otherwise
    with pytest.raises(BackendLoadError, match="half installed"):
        mlmethods.get_backend("broken")
    del sys.modules[module]


UNUSABLE = {
    "says why": ("return 'its driver is missing'", "its driver is missing"),
    "raises": ("raise OSError('driver crash')", "driver crash"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unavailable_backend_is_skipped_with_one_warning(install, case):
    available, fragment = UNUSABLE[case]
    install("flaky", priority=5000, available=available)
    with pytest.warns(
        BackendWarning, match=rf"'flaky' is skipped.*{fragment}"
    ) as caught:
        first, second = mlmethods.get_backend(), mlmethods.get_backend()
    assert len(caught) == 1
    assert first.info.name == second.info.name != "flaky"


def test_an_unavailable_backend_raises_when_asked_for(install):
    install("flaky", available="return 'its driver is missing'")
    with pytest.raises(BackendLoadError, match=r"'flaky'.*its driver is missing"):
        mlmethods.get_backend("flaky")


def test_a_plugin_whose_can_run_fails_is_passed_over(install):
    install("faulty", priority=5000, can_run="raise KeyError('oops')")
    assert mlmethods.get_backend("auto", "kernels.agop").info.name != "faulty"
    with pytest.raises(OperationNotSupportedError, match="KeyError"):
        mlmethods.get_backend("faulty", "kernels.agop")


def test_an_object_of_another_contract_is_refused(install):
    install()
    backend = mlmethods.get_backend("extra")
    backend.info = BackendInfo(
        name="extra", version="1", api_version=99, ops=frozenset()
    )
    with pytest.raises(BackendLoadError, match=f"version 99.*version {API_VERSION}"):
        mlmethods.get_backend(backend)


def test_of_two_with_one_name_the_first_distribution_is_kept(install):
    kept = install("twin", distribution="a-first")
    ignored = install("twin", distribution="b-second")
    with pytest.warns(BackendWarning, match=r"'twin'.*'a-first'.*'b-second'") as caught:
        backend = mlmethods.get_backend("twin")
    assert len(caught) == 1
    assert "twin" in names()
    assert type(backend).__module__ == kept != ignored


def test_threads_have_contexts_of_their_own(install):
    install("auto-choice", priority=1000)
    install("one")
    install("two")
    met, seen = threading.Barrier(2, timeout=10), {}

    def work(name):
        with mlmethods.use_backend(name):
            met.wait()
            seen[name] = mlmethods.get_backend().info.name
            met.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    with mlmethods.use_backend("one"):
        outside = threading.Thread(
            target=lambda: seen.update(new=mlmethods.get_backend().info.name)
        )
        for thread in (*threads, outside):
            thread.start()
        for thread in (*threads, outside):
            thread.join()
    assert seen == {"one": "one", "two": "two", "new": "auto-choice"}


def test_tasks_have_contexts_of_their_own(install):
    install("one")
    install("two")

    async def work(name, turn, following):
        with mlmethods.use_backend(name):
            following.set()
            await turn.wait()
            return mlmethods.get_backend().info.name

    async def both():
        first, second = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(
            work("one", first, second), work("two", second, first)
        )

    assert asyncio.run(both()) == ["one", "two"]
