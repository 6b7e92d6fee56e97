"""Accounts, calibration, audits and attacks from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlmethods.privacy import Accountant, GaussianMechanism, VonMisesFisherMechanism

RUN = ("--batch-size", "256", "--data-size", "60000", "--steps", "470")


def test_an_account_is_that_of_the_library(invoke) -> None:
    run = invoke(
        *("privacy", "account", "--scale", "500", "--dimension", "61706", "--json"),
        *RUN,
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    accountant = Accountant()
    accountant.step(VonMisesFisherMechanism(500.0), 256 / 60000, 470, p=61706)
    assert found["rdp_epsilon"] == pytest.approx(accountant.epsilon(1e-5, "rdp"))
    assert found["adjacency"] == "replace_one"
    assert found["pure_epsilon"] is None


def test_layers_are_releases_of_their_own(invoke) -> None:
    sizes = [str(size) for _ in range(10) for size in ("--dimension", 1000)]
    run = invoke(
        *("privacy", "account", "--scale", "50", *sizes, "--sampling", "shuffle"),
        *("--batch-size", "100", "--data-size", "1000", "--steps", "10"),
    )
    assert run.exit_code == 0, run.output
    assert "pure epsilon of one participation 1,000 = 10 groups of 100" in run.stdout


def test_shuffled_steps_are_counted_in_epochs(invoke) -> None:
    run = invoke(
        *("privacy", "account", "--mechanism", "gaussian", "--scale", "2"),
        *("--dimension", "10", "--sampling", "shuffle", "--json"),
        *("--batch-size", "100", "--data-size", "1000", "--steps", "11"),
    )
    found = json.loads(run.stdout)
    assert found["steps"] == 2
    assert found["adjacency"] == "replace_one"


def test_calibrated_noise_spends_what_was_asked(invoke) -> None:
    run = invoke(
        *("privacy", "calibrate", "--mechanism", "gaussian", "--epsilon", "3"),
        *("--dimension", "1000", "--json"),
        *RUN,
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert 2.97 < found["rdp_epsilon"] <= 3
    assert found["mechanism"]["noise_multiplier"] == pytest.approx(0.667, abs=0.01)


def test_an_audit_is_below_the_claim(invoke) -> None:
    run = invoke(
        *("privacy", "audit", "--scale", "1", "--dimension", "3", "--draws", "2000"),
        *("--backend", "numpy"),
    )
    assert run.exit_code == 0, run.output
    assert "at least" in run.stdout


def test_a_broken_mechanism_ends_with_one(invoke, monkeypatch) -> None:
    honest = VonMisesFisherMechanism.config

    def leaky(self):
        return honest(VonMisesFisherMechanism(4 * self.kappa))

    monkeypatch.setattr(VonMisesFisherMechanism, "config", leaky)
    run = invoke(
        *("privacy", "audit", "--scale", "1", "--dimension", "3", "--draws", "4000"),
        *("--backend", "numpy"),
    )
    assert run.exit_code == 1, run.output
    assert "exceeds the claim" in run.stderr or "does not keep" in run.stderr


@pytest.fixture
def losses(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write synthetic losses, those of members lower by one deviation."""
    member = np.arange(2000) < 1000
    frame = pd.DataFrame({"loss": rng.normal(size=2000) - member, "member": member * 1})
    path = tmp_path / "losses.csv"
    frame.to_csv(path, index=False)
    return path


def test_an_attack_on_losses(invoke, losses: Path) -> None:
    run = invoke("privacy", "attack", losses, "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["auc"] == pytest.approx(0.760, abs=0.03)
    assert "false positives" in invoke("privacy", "attack", losses).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "lost"), "no column 'lost'"),
        (("--member", "loss"), "both 0 and 1"),
    ],
)
def test_bad_columns_are_named(invoke, losses: Path, arguments, message) -> None:
    run = invoke("privacy", "attack", losses, *arguments)
    assert run.exit_code == 2
    assert message in run.stderr


def test_a_batch_larger_than_the_data_is_refused(invoke) -> None:
    run = invoke(
        *("privacy", "account", "--scale", "5", "--dimension", "10"),
        *("--batch-size", "20", "--data-size", "10", "--steps", "1"),
    )
    assert run.exit_code == 2
    assert "--batch-size must be at most" in run.stderr


def test_the_gaussian_account_uses_the_tighter_proven_bound(invoke) -> None:
    run = invoke(
        *("privacy", "account", "--mechanism", "gaussian", "--scale", "1.1"),
        *("--dimension", "10", "--json"),
        *RUN,
    )
    accountant = Accountant()
    accountant.step(GaussianMechanism(1.1), 256 / 60000, 470)
    found = json.loads(run.stdout)
    assert found["epsilon"] == pytest.approx(accountant.epsilon(1e-5))
    assert found["epsilon"] <= found["rdp_epsilon"]
