"""Accuracy of Gaussian DP-SGD by Opacus, with the settings of `privacy-utility`.

Needs the extra `peers` and Fashion-MNIST in a data root. Run from a checkout:

    python tests/golden/make_opacus_accuracy.py

The rows are those of the recipe with seed 0, so that only the training differs.
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

from mlmethods.datasets import load_images

NOISE, CLIP_NORM, BATCH_SIZE, STEPS = 1.1, 1.0, 256, 470
RATES = (0.125, 0.5, 2.0)
TRAIN, VALIDATION, TEST = 55_000, 4000, 6000


def rows() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return training, validation and test rows."""
    rng = np.random.default_rng([0, 1])
    images, labels = load_images("fashion-mnist", split="train")
    order = rng.permutation(len(images))
    held, held_labels = load_images("fashion-mnist", split="test")
    tested = rng.permutation(len(held))[:TEST]
    parts = [
        (images, labels, order[VALIDATION:][:TRAIN]),
        (images, labels, order[:VALIDATION]),
        (held, held_labels, tested),
    ]
    return [
        (
            torch.from_numpy(x[i].reshape(len(i), -1).astype(np.float32) / 255),
            torch.from_numpy(y[i]),
        )
        for x, y, i in parts
    ]


def network() -> torch.nn.Module:
    """Return the perceptron 784-32-10 with the library's initialization."""
    layers = torch.nn.Linear(784, 32), torch.nn.Linear(32, 10)
    for layer, gain in zip(layers, (2.0, 1.0), strict=True):
        torch.nn.init.normal_(layer.weight, std=(gain / layer.in_features) ** 0.5)
        torch.nn.init.zeros_(layer.bias)
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])


def accuracy(model: torch.nn.Module, part: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Return the share of rows that are classified right."""
    with torch.no_grad():
        return float((model(part[0]).argmax(1) == part[1]).float().mean())


def run(parts: list, rate: float, steps: int, seed: int) -> torch.nn.Module:
    """Train with Poisson batches."""
    torch.manual_seed(seed)
    model = network()
    model, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=rate),
        data_loader=DataLoader(TensorDataset(*parts[0]), batch_size=BATCH_SIZE),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        poisson_sampling=True,
    )
    done = 0
    while done < steps:
        for X, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X), y).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return model


def main() -> None:
    """Choose the rate on validation rows, train with three seeds, write the file."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parts = rows()
    scores = [accuracy(run(parts, rate, STEPS // 4, 0), parts[1]) for rate in RATES]
    rate = RATES[int(np.argmax(scores))]
    found = [accuracy(run(parts, rate, STEPS, seed), parts[2]) for seed in range(3)]
    record = {
        "provenance": "tests/golden/make_opacus_accuracy.py",
        "opacus": importlib.metadata.version("opacus"),
        "torch": torch.__version__,
        "noise_multiplier": NOISE,
        "clip_norm": CLIP_NORM,
        "batch_size": BATCH_SIZE,
        "steps": STEPS,
        "learning_rate": rate,
        "validation_accuracy": dict(zip(map(str, RATES), scores, strict=True)),
        "test_accuracy": found,
    }
    path = Path(__file__).with_name("opacus_accuracy.json")
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
