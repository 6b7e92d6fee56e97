"""``python -m benchmarks``: time the library beside its peers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

# Numerical libraries must not be imported before the threads are set.
from benchmarks.harness.machine import available_cores, describe, prepare, probe

_HERE = Path(__file__).resolve().parent
_NOT_MET, _MISSING, _INTERRUPTED = 1, 3, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all")
    parser.add_argument(
        "--peers", default="all", help="all, none, or names between commas"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument(
        "--check", action="store_true", help="end with 1 if a target is missed"
    )
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--rounds", type=int, default=7, help="at least 7")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-memory", action="store_true", help="skip peak memory")
    parser.add_argument(
        "--out", type=Path, default=_HERE / "results" / "latest", metavar="DIR"
    )
    parser.add_argument(
        "--record", action="store_true", help="put the ratios into baseline.json"
    )
    parser.add_argument("--measure-memory", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.measure_memory:
        return _measure_memory(json.loads(options.measure_memory))
    if not 1 <= options.threads <= available_cores():
        parser.error(f"--threads must be 1 to {available_cores()}")
    if options.record and options.quick:
        parser.error("--record needs the full sizes")
    if options.rounds < 7:
        parser.error("--rounds must be at least 7")
    prepare(options.threads)
    from benchmarks.cases import load_cases, module_names

    known = module_names()
    unknown = [name for name in options.cases if name not in known]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(known)}")
    cases = [case for name in options.cases or known for case in load_cases(name)]
    peers = _peers(options.peers)
    names = {name for case in cases for name in case.implementations}
    if peers and peers - names:
        parser.error(f"no peer {min(peers - names)!r} in {', '.join(sorted(names))}")
    if peers != set():
        _import_torch(options.threads)
    try:
        results = _run(cases, peers, options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return _exit_code(results, check=options.check)


def _import_torch(threads: int) -> None:
    """Import torch before jax, if it is there: the other order may crash."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)


def _peers(text: str) -> set[str] | None:
    if text == "all":
        return None
    return set() if text == "none" else set(text.split(","))


def _tell(text: str) -> None:
    print(text, flush=True)


def _run(
    cases: list[Any], peers: set[str] | None, options: argparse.Namespace
) -> dict[str, Any]:
    from benchmarks.harness.baseline import record
    from benchmarks.harness.report import write_report
    from benchmarks.harness.run import run_case
    from benchmarks.harness.targets import judge, load_targets

    rates = probe()
    results = {
        **describe(options.threads),
        "probe": rates,
        "seed": options.seed,
        "quick": options.quick,
        "cases": [
            run_case(
                case,
                peers=peers,
                quick=options.quick,
                rounds=options.rounds,
                seconds=0 if options.quick else 10,
                threads=options.threads,
                seed=options.seed,
                memory=not options.no_memory,
                gflops=rates[f"gemm_{case.dtype}_gflops"],
                tell=_tell,
            )
            for case in cases
        ],
    }
    results["verdicts"] = judge(load_targets(_HERE / "targets.toml"), results["cases"])
    for row in results["verdicts"]:
        _tell(f"target {row['case']} vs {row['peer']} {row['size']}: {row['verdict']}")
    for path in write_report(results, options.out):
        _tell(f"wrote {path}")
    if options.record:
        record(results, _HERE / "results" / "baseline.json")
    return results


def _exit_code(results: dict[str, Any], *, check: bool) -> int:
    """Return 1 for a wrong output; with `check` also for a missed target.

    With `check`, a peer that is missing gives 3: nothing can be said about it.
    """
    statuses = {
        row["status"]
        for case in results["cases"]
        for entry in case["sizes"]
        for row in entry["implementations"].values()
    }
    verdicts = {row["verdict"] for row in results["verdicts"]}
    if statuses & {"disagrees", "failed"} or (check and "missed" in verdicts):
        return _NOT_MET
    return _MISSING if check and "not installed" in statuses else 0


def _measure_memory(request: dict[str, Any]) -> int:
    """Measure one implementation in this process and print what it took."""
    prepare(request["threads"])
    from benchmarks.cases import load_cases
    from benchmarks.harness.memory import measure_here

    cases = {case.name: case for case in load_cases(request["case"].partition(".")[0])}
    case, name = cases[request["case"]], request["implementation"]
    if "torch" in case.implementations[name].requires:
        _import_torch(request["threads"])
    found = measure_here(case, name, request["size"], request["seed"])
    _tell(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
