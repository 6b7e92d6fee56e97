"""The benchmark harness, on a case whose truth is known."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def checkout():
    """Make the checkout's packages importable, as running from its root does."""
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


def spin(seconds: float):
    """Return a call that occupies the processor."""

    def call():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return np.ones(3)

    return call


@pytest.fixture(scope="module")
def case():
    """Return a case with a twice slower, a wrong, a broken and an absent peer."""
    from benchmarks.harness.case import Case, Implementation

    def broken(data):
        raise RuntimeError("no such thing")

    return Case(
        name="toy.case",
        title="waiting",
        sizes=({"n": 2, "d": 1}, {"n": 4, "d": 1}),
        quick_sizes=({"n": 2, "d": 1},),
        make_data=lambda size, rng: size["n"] * 0.001,
        implementations={
            "ours": Implementation(setup=spin),
            "slower": Implementation(setup=lambda data: spin(2 * data)),
            "wrong": Implementation(setup=spin, collect=lambda result: result + 0.1),
            "broken": Implementation(setup=broken),
            "absent": Implementation(setup=spin, requires=("no_such_module",)),
        },
        tolerance=1e-3,
        work=lambda size: 1e6,
    )


@pytest.fixture(scope="module")
def results(case):
    from benchmarks.harness.run import run_case

    said: list[str] = []
    found = run_case(
        case,
        peers=None,
        quick=False,
        rounds=7,
        seconds=0,
        threads=1,
        seed=0,
        memory=False,
        gflops=1.0,
        tell=said.append,
    )
    return found, said


def test_a_run_compares_before_it_times_and_keeps_every_row(results) -> None:
    found, said = results
    rows = found["sizes"][0]["implementations"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "ours": "ok",
        "slower": "ok",
        "wrong": "disagrees",
        "broken": "failed",
        "absent": "not installed",
    }
    median, low, high = rows["slower"]["ratio"]["wall"]
    assert low <= median <= high
    assert 0 < median < 1
    assert "ratio" not in rows["wrong"]
    assert rows["wrong"]["error"] == pytest.approx(0.1 / 1.1)
    assert "no such thing" in rows["broken"]["reason"]
    assert "pip install" in rows["absent"]["reason"]
    assert rows["ours"]["rounds"] == 7
    # A busy machine can only make a pause longer.
    assert rows["ours"]["wall"]["median"] >= 0.0019
    assert 0 < rows["ours"]["gflops"] < 0.55
    # Doubling n doubles the time, but for what a busy machine adds.
    assert 0.4 < found["growth"]["ours"]["d=1"] < 1.8
    assert any("not installed" in line for line in said)


def test_reports_show_losses_and_absences(results, tmp_path) -> None:
    from benchmarks.harness.report import write_report

    found, _ = results
    everything = {
        "machine": {"processor": "a processor", "cores": 1, "load": 0.0},
        "versions": {"python": "3"},
        "threads": 1,
        "probe": {
            "gemm_float32_gflops": 1.0,
            "gemm_float64_gflops": 1.0,
            "copy_gbytes_per_s": 1.0,
        },
        "seed": 0,
        "quick": False,
        "cases": [found],
        "verdicts": [],
    }
    paths = write_report(everything, tmp_path / "out")
    names = ["results.json", "ratios.md", "ratios.svg", "scaling.svg"]
    assert [path.name for path in paths] == names
    assert json.loads(paths[0].read_text())["cases"][0]["name"] == "toy.case"
    text = paths[1].read_text()
    for fragment in ("void: the outputs disagree", "not installed", "no such thing"):
        assert fragment in text
    for path in paths[2:]:
        assert path.read_text().lstrip().startswith("<?xml")


def test_a_baseline_keeps_ratios_and_replaces_what_was_run_again(
    results, tmp_path
) -> None:
    from benchmarks.harness.baseline import record

    def ratios():
        return json.loads(path.read_text())["ratios"]

    path = tmp_path / "baseline.json"
    run = {
        "machine": {"processor": "x", "cores": 2, "load": 0.5},
        "threads": 1,
        "versions": {},
        "quick": False,
        "cases": [results[0]],
    }
    record(run, path)
    assert {(row["peer"], row["size"]["n"]) for row in ratios()} == {
        ("slower", 2),
        ("slower", 4),
    }
    assert "median" not in path.read_text()
    other = {**run, "cases": [{**results[0], "name": "another"}]}
    for _ in range(2):
        record(other, path)
        assert len(ratios()) == 4
    record({**other, "threads": 2}, path)
    assert {row["case"] for row in ratios()} == {"another"}
    with pytest.raises(ValueError, match="quick"):
        record({**run, "quick": True}, path)


def test_rounds_rotate_so_that_none_is_always_first() -> None:
    from benchmarks.harness.timer import race

    order: list[str] = []

    def note(name):
        def call():
            order.append(name)
            spin(0.06)()

        return call

    samples = race({name: note(name) for name in "abc"}, rounds=7, seconds=0)
    rounds = [order[3 + 3 * k : 6 + 3 * k] for k in range(7)]
    assert [first[0] for first in rounds] == list("abcabca")
    assert all(sorted(part) == list("abc") for part in rounds)
    assert all(len(sample.wall) == 7 for sample in samples.values())
    with pytest.raises(ValueError, match="rounds must be >= 7"):
        race({"a": note("a")}, rounds=3, seconds=0)


def test_paired_ratio_cancels_what_falls_on_both(rng) -> None:
    from benchmarks.harness.timer import growth_exponent, paired_ratio

    noise = rng.uniform(1, 10, 50)
    median, low, high = paired_ratio(0.5 * noise, noise, seed=0)
    assert (median, low, high) == pytest.approx((0.5, 0.5, 0.5))
    # For independent noise the interval covers the true median ratio.
    ours, theirs = np.exp(rng.normal(0, 0.2, (2, 200)))
    median, low, high = paired_ratio(ours, theirs, seed=0)
    assert low < 1 < high
    assert high - low == pytest.approx(2 * 1.96 * 1.2533 * 0.283 / 200**0.5, rel=0.5)
    assert growth_exponent([10, 20, 40], [1.0, 8.0, 64.0]) == pytest.approx(3)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ([0.5, 0.4, 0.55], "met"),
        ([0.6, 0.55, 0.7], "undecided"),
        ([0.9, 0.8, 1.0], "missed"),
        (None, "not measured"),
        ("disagrees", "void"),
    ],
)
def test_verdicts(ratio, verdict) -> None:
    from benchmarks.harness.targets import judge

    row = {"status": "ok", "ratio": {"cpu": ratio}}
    if ratio == "disagrees":
        row = {"status": "disagrees"}
    cases = [
        {
            "name": "a.b",
            "sizes": [
                {"size": {"n": 10}, "implementations": {"peer": row}},
                {"size": {"n": 99}, "implementations": {"peer": row}},
            ],
        }
    ]
    target = {"case": "a.b", "peer": "peer", "clock": "cpu", "ratio": 0.6}
    target["where"] = {"n": [5, 20]}
    assert [found["verdict"] for found in judge([target], cases)] == [verdict]
    target["where"] = {"n": [1000, 2000]}
    assert judge([target], cases)[0]["verdict"] == "not measured"
    assert judge([target], []) == []


def test_targets_speak_of_cases_and_peers_that_exist() -> None:
    from benchmarks.cases import load_cases, module_names
    from benchmarks.harness.targets import load_targets

    cases = {case.name: case for name in module_names() for case in load_cases(name)}
    targets = load_targets(ROOT / "benchmarks" / "targets.toml")
    assert targets
    for target in targets:
        case = cases[target["case"]]
        assert target["peer"] in case.implementations
        measured = [
            size
            for size in case.sizes
            if all(low <= size[k] <= high for k, (low, high) in target["where"].items())
        ]
        assert measured, target


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("no-such-case",), "no case 'no-such-case'"),
        (("vmf", "--peers", "nobody"), "no peer 'nobody'"),
        (("vmf", "--rounds", "3"), "--rounds must be at least 7"),
        (("vmf", "--threads", "0"), "--threads must be"),
    ],
)
def test_wrong_arguments_end_with_two(arguments, fragment) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert fragment in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_real_case_from_the_command_line(tmp_path) -> None:
    done = run("vmf", "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    rows = document["cases"][0]["sizes"][0]["implementations"]
    assert rows["scipy"]["status"] == "ok"
    assert rows["mlmethods"]["wall"]["first_call"] > rows["mlmethods"]["wall"]["median"]
    if sys.platform == "linux":
        memory = rows["mlmethods"]["memory"]
        assert 0 < memory["before"] <= memory["peak"]


@pytest.mark.peers
@pytest.mark.timeout(900)
def test_peers_agree_in_every_case(tmp_path) -> None:
    if importlib.util.find_spec("xrfm") is None:
        pytest.skip("needs: pip install 'mlmethods[peers]'")
    done = run("--quick", "--no-memory", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    for case in document["cases"]:
        for entry in case["sizes"]:
            for name, row in entry["implementations"].items():
                assert row["status"] == "ok", (case["name"], name, row)
