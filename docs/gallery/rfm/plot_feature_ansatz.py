"""
What training does to the weights of a network
==============================================

The neural feature ansatz says that training makes the Gram matrix of a layer's weights
close to proportional to a power of the average gradient outer product (AGOP) of the
network at that layer's input. Here a small network learns handwritten digits, and both
matrices are compared before and after.
"""

# %%
# The data
# --------
# The 1,797 digits of scikit-learn, 8 x 8 pixels. The targets are one-hot codes.

import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mlmethods.rfm import (
    agop,
    feature_ansatz,
    neural_feature_matrix,
    plot_feature_image,
)
from mlmethods_jax.adapters import from_nnx
from mlmethods_jax.training import TrainState, fit_loop, make_train_step

digits, labels = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    np.float32(digits / 16), labels, test_size=400, random_state=0
)
Y = np.eye(10, dtype=np.float32)[y]

# %%
# The network
# -----------
# Two hidden layers without biases. The initial weights are small: at the usual scale
# what training adds is hard to see beside them.


class Network(nnx.Module):
    """Two hidden layers of 256 rectifiers."""

    def __init__(self, rngs):
        init = nnx.initializers.variance_scaling(0.02, "fan_in", "normal")
        linear = functools.partial(
            nnx.Linear, use_bias=False, kernel_init=init, rngs=rngs
        )
        self.first = linear(64, 256)
        self.second = linear(256, 256)
        self.last = linear(256, 10)

    def __call__(self, x):
        """Return ten outputs for each row of x."""
        return self.last(nnx.relu(self.second(nnx.relu(self.first(x)))))


model = from_nnx(Network)
key = jax.random.key(0)
before = model.init(key, X[:1])

# %%
# Training
# --------
# Mean squared error and Adam, in compiled steps.


def loss(params, batch, key):
    """Return the mean squared error of a batch."""
    return jnp.mean((model.apply(params, batch["x"]) - batch["y"]) ** 2)


optimizer = optax.adam(1e-3)
step = make_train_step(loss, optimizer)
state = TrainState.create(before, optimizer)
result = fit_loop(step, state, {"x": X, "y": Y}, key=key, epochs=20, batch_size=64)
after = result.state.params
accuracy = np.mean(np.argmax(model.apply(after, X_test), axis=1) == y_test)
print(f"accuracy on new digits: {accuracy:.3f}")

# %%
# Before and after
# ----------------
# Correlations of each layer with its AGOP and with the square root of it. The untrained
# network is the measure: only what is above it was learned. The last layer is linear,
# so that the AGOP at its input is the Gram matrix by definition: it says nothing.
# ``centered_pearson`` is the correlation of the change of the weights.

for name, params in (("before training", before), ("after training", after)):
    report = feature_ansatz(model, X[:500], params=params, init_params=before)
    print(name)
    print(report.to_frame().round(3).to_string(index=False))
    figure = report.plot()
    figure.axes[0].set(title=name, ylim=(0, 1.35))  # room for the legend
    plt.figure(figure)  # hands it to pyplot, which shows it; needs matplotlib 3.11

# %%
# The pixels that matter
# ----------------------
# The diagonals of the two matrices of the first layer, as images. They mark the same
# pixels. Those at the border, where ink is rare, are large in both.

_, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
weights = neural_feature_matrix(model, "first", params=after)
plot_feature_image(weights, (8, 8), ax=left)
left.set_title("Gram matrix of the weights", loc="left")
plot_feature_image(agop(model, X[:500], params=after), (8, 8), ax=right)
right.set_title("AGOP at the input", loc="left")
