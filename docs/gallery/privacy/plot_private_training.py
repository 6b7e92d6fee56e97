"""
Training on noisy directions, attacked
======================================

A network on handwritten digits, trained three times: without noise until it overfits,
with Gaussian noise, and with von Mises-Fisher noise on the direction of every example's
gradient, one direction for each array of parameters. Then the same attack on all three.
"""

# %%
# The data
# --------
# scikit-learn's digits, half of them for training: the attacker must tell the halves
# apart.

import jax
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mlmethods.privacy import (
    GaussianMechanism,
    NoPrivacy,
    VonMisesFisherMechanism,
    attacks,
    make_private,
    plot_roc,
)

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)


class Network(nnx.Module):
    """One hidden layer."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.readout = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.readout(jax.nn.relu(self.hidden(x)))


# %%
# Three mechanisms, one trainer
# -----------------------------
# The statement says for which neighbors a promise is made. Those of the two mechanisms
# differ: adding or removing an example, and replacing one.

runs = {
    "no noise": (NoPrivacy(), optax.sgd(0.1, momentum=0.9), 1500),
    "Gaussian": (GaussianMechanism(1.1), optax.sgd(0.5), 200),
    "von Mises-Fisher": (
        VonMisesFisherMechanism(500.0, granularity="layer"),
        optax.sgd(0.5),
        200,
    ),
}
results = {}
for name, (mechanism, optimizer, steps) in runs.items():
    trainer = make_private(
        Network(nnx.Rngs(0)),
        optimizer,
        mechanism,
        data_size=len(X_train),
        batch_size=64,
    )
    trainer.fit((X_train, y_train), steps=steps, key=0)
    accuracy = trainer.evaluate((X_test, y_test))["accuracy"]
    results[name] = attacks.loss_threshold(
        trainer.losses((X_train, y_train)), trainer.losses((X_test, y_test)), rng=0
    )
    print(f"{name}: accuracy {accuracy:.3f}, attack AUC {results[name].auc:.3f}")
    if name != "no noise":
        spent = trainer.accountant.spent(1e-5)
        print(f"  epsilon {spent.epsilon:.4g} ({spent.adjacency}, {spent.method})")

# %%
# The attack
# ----------
# The loss of an example that was trained on is lower, so that its size tells members
# from others. What counts is the left end: whom can the attacker name with few false
# accusations?

plot_roc(results)
