"""
How kernels differ
==================

The kernel decides how smooth a fitted function is. Here kernel ridge regression with
four kernels fits the same 40 noisy values on a line, a wave with a jump in it.
"""

# %%
# The data
# --------

import matplotlib.pyplot as plt
import numpy as np

from mlmethods.kernels import (
    ExpPowerKernel,
    GaussianKernel,
    KernelRidge,
    LaplaceKernel,
    MaternKernel,
)

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(0, 6, 40))
line = np.linspace(0, 6, 400)


def truth(x):
    """Return a wave that falls by one at 3."""
    return np.sin(2 * x) + (x < 3)


y = truth(x) + 0.1 * rng.normal(size=len(x))

# %%
# The kernels
# -----------
# As functions of the distance r, all with bandwidth 1. Laplace and the exponential power
# have a corner at zero, Matérn 3/2 has one derivative, the Gaussian has all.

kernels = {
    "Laplace": LaplaceKernel(bandwidth=1.0),
    "exponential power 1.5": ExpPowerKernel(q=1.5, bandwidth=1.0),
    "Matérn 3/2": MaternKernel(nu=1.5, bandwidth=1.0),
    "Gaussian": GaussianKernel(bandwidth=1.0),
}
r = np.linspace(-3, 3, 301)
_, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, kernel in kernels.items():
    ax.plot(r, kernel(r[:, None], [[0.0]])[:, 0], label=name)
ax.set(xlabel="r", ylabel="k(r)")
ax.legend()

# %%
# The fits
# --------
# The same ridge for all. The mean of y is subtracted, because ``KernelRidge`` subtracts
# nothing.

_, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharey=True)
for (name, kernel), ax in zip(kernels.items(), axes.flat, strict=True):
    model = KernelRidge(kernel, reg=0.05, backend="numpy")
    model.fit(x[:, None], y - y.mean())
    fitted = model.predict(line[:, None]) + y.mean()
    error = np.sqrt(np.mean((fitted - truth(line)) ** 2))
    ax.plot(line, truth(line), color="0.7", label="truth")
    ax.plot(x, y, ".", color="0.3")
    ax.plot(line, fitted, label="fit")
    ax.set_title(f"{name}: error {error:.3f}")
axes[0, 0].legend()
