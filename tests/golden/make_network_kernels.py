"""Write network_kernels.json: NNGP and NTK kernel matrices in float64.

Two sources. neural-tangents 0.6.5, which needs an environment of its own (it does not
import with jax >= 0.5)::

    python -m venv peer
    peer/bin/pip install neural-tangents==0.6.5 jax==0.4.30 jaxlib==0.4.30 \
        "numpy<2" "scipy<1.13" mpmath==1.3.0
    peer/bin/python tests/golden/make_network_kernels.py

And the recursion of Cho and Saul in mpmath with 60 digits, straight from the cosine,
for near-duplicates and rows of very different length, where float64 would cancel.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import jax
import mpmath as mp
import numpy as np

jax.config.update("jax_enable_x64", True)

from neural_tangents import stax  # noqa: E402

DIGITS = 60
ROOT2 = 2.0**0.5
POINTS = np.random.default_rng(7).normal(size=(6, 5)).round(3)
# Pairs 1e-1 to 1e-9 apart, of the same and of opposite directions, of lengths 1e-3 to
# 1e3, and a row of zeros.
NEAR = [[1.0, 0.5, -0.25, 0.0, 2.0]]
NEAR += [[1.0, 0.5 + 10.0**-k, -0.25, 0.0, 2.0] for k in (1, 3, 6, 9)]
NEAR += [[2.0, 1.0, -0.5, 0.0, 4.0], [0.0, -1e-3, 0.0, 0.0, 1e-3]]
NEAR += [[1e-3, 0.0, 0.0, 1e-3, 0.0], [0.0, 1e3, 0.0, 0.0, -1e3], [0.0] * 5]

CASES = (
    {"activation": "relu", "depth": 1},
    {"activation": "relu", "depth": 3},
    {"activation": "relu", "depth": 3, "b_std": 0.3, "w_std": 1.2},
    {
        "activation": "relu",
        "depth": 2,
        "b_std": 0.1,
        "readout_w_std": 1.5,
        "readout_b_std": 0.2,
    },
    {"activation": "relu", "depth": 3, "skip": True},
    {"activation": "relu", "depth": 3, "skip": True, "b_std": 0.4, "w_std": 0.8},
    {"activation": "erf", "depth": 1},
    {"activation": "erf", "depth": 3, "b_std": 0.3},
    {"activation": "gelu", "depth": 1},
    {"activation": "gelu", "depth": 3, "b_std": 0.3},
    {"activation": "gelu", "depth": 3, "skip": True},
)


def complete(case: dict) -> dict:
    """Return the case with the defaults of the library."""
    defaults = {
        "w_std": ROOT2,
        "b_std": 0.0,
        "readout_w_std": 1.0,
        "readout_b_std": 0.0,
        "skip": False,
    }
    return {**defaults, **case}


def by_neural_tangents(case: dict, X: np.ndarray) -> dict:
    """Return both kernel matrices of neural-tangents."""
    activations = {
        "relu": stax.Relu,
        "erf": stax.Erf,
        "gelu": lambda: stax.Gelu(approximate=False),
    }
    activation = activations[case["activation"]]

    def dense(prefix: str = ""):
        w, b = case[f"{prefix}w_std"], case[f"{prefix}b_std"]
        return stax.Dense(1, W_std=w, b_std=b if b else None)

    layers = [dense()]
    for _ in range(case["depth"] - 1):
        block = stax.serial(activation(), dense())
        if case["skip"]:
            block = stax.serial(
                stax.FanOut(2), stax.parallel(stax.Identity(), block), stax.FanInSum()
            )
        layers.append(block)
    _, _, kernel_fn = stax.serial(*layers, activation(), dense("readout_"))
    kernels = kernel_fn(X, None, ("nngp", "ntk"))
    return {
        name: np.asarray(getattr(kernels, name)).tolist() for name in kernels._fields
    }


def by_mpmath(case: dict, X: list) -> dict:
    """Return both kernel matrices of a ReLU network from the textbook recursion."""
    points = [[mp.mpf(v) for v in row] for row in X]
    out = {"nngp": [], "ntk": []}
    for x in points:
        pairs = [_pair(case, x, z) for z in points]
        out["nngp"].append([float(nngp) for nngp, _ in pairs])
        out["ntk"].append([float(ntk) for _, ntk in pairs])
    return out


def _pair(case: dict, x: list, z: list) -> tuple:
    def dot(a: list, b: list):
        return sum(i * j for i, j in zip(a, b, strict=True)) / len(a)

    w2, b2 = mp.mpf(case["w_std"]) ** 2, mp.mpf(case["b_std"]) ** 2
    S, q_x, q_z = (w2 * dot(*pair) + b2 for pair in ((x, z), (x, x), (z, z)))
    T = S
    for layer in range(case["depth"]):
        skip = case["skip"]
        if layer + 1 == case["depth"]:
            w2, b2 = (
                mp.mpf(case[f"readout_{name}"]) ** 2 for name in ("w_std", "b_std")
            )
            skip = False
        root = mp.sqrt(q_x * q_z)
        # A row of norm 0 has no angle; k1 is 0 whatever it is taken for.
        cosine = max(min(S / root, mp.mpf(1)), mp.mpf(-1)) if root else mp.mpf(1)
        angle = mp.acos(cosine)
        k0 = (mp.pi - angle) / (2 * mp.pi)
        k1 = root * (mp.sin(angle) + cosine * (mp.pi - angle)) / (2 * mp.pi)
        grown = w2 * k1 + b2
        T = grown + w2 * T * k0 + (T if skip else 0)
        S = grown + (S if skip else 0)
        q_x, q_z = (w2 * q / 2 + b2 + (q if skip else 0) for q in (q_x, q_z))
    return S, T


def main() -> None:
    """Write the file beside this script."""
    mp.mp.dps = DIGITS
    cases = [complete(case) for case in CASES]
    document = {
        "provenance": {
            "program": "tests/golden/make_network_kernels.py",
            "neural-tangents": version("neural-tangents"),
            "jax": version("jax"),
            "mpmath": version("mpmath"),
            "python": platform.python_version(),
            "decimal_digits": DIGITS,
        },
        "points": POINTS.tolist(),
        "peer": [{"case": c, **by_neural_tangents(c, POINTS)} for c in cases],
        "near_points": NEAR,
        "near": [
            {"case": c, **by_mpmath(c, NEAR)}
            for c in cases
            if c["activation"] == "relu"
        ],
    }
    path = Path(__file__).with_name("network_kernels.json")
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
