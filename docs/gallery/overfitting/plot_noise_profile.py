"""
How much label noise does a classifier swallow?
===============================================

Flip a share of the training labels, fit exactly, and test on clean labels. A benign
learner would not notice; one that fits every flipped label as if it were true pays for
each of them.
"""

# %%
# The data
# --------
# scikit-learn's digits: is the digit five or more?

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from mlmethods.kernels import KernelRidgeClassifier, LaplaceKernel
from mlmethods.overfitting import noise_profile

X, digit = load_digits(return_X_y=True)
X, y = X / 16, digit >= 5

# %%
# Four learners
# -------------
# Three fit their training set exactly; the ridge keeps the fourth from it.

learners = {
    "nearest neighbor": KNeighborsClassifier(1),
    "Laplace kernel": KernelRidgeClassifier(LaplaceKernel(bandwidth=3.0), reg=0.0),
    "Laplace kernel, ridge 1": KernelRidgeClassifier(
        LaplaceKernel(bandwidth=3.0), reg=1.0
    ),
    "random forest": RandomForestClassifier(100, random_state=0),
}
levels = (0.0, 0.1, 0.2, 0.3, 0.4)
_, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for name, learner in learners.items():
    profile = noise_profile(learner, X, y, levels, n_draws=3, random_state=0)
    means = profile.table.groupby("noise")["risk"].mean()
    ax.plot(means.index, means, marker="o", label=f"{name}: tau {profile.tau:.2f}")
ax.plot(levels, levels, color="gray", ls="--", label="one error per flipped label")
ax.set(xlabel="share of flipped training labels", ylabel="error on clean labels")
ax.legend()

# %%
# A tau of 0 would be the best possible classifier at every level of noise, 1 is
# guessing. The forest votes over trees that each fit exactly: it interpolates too, and
# pays less.
