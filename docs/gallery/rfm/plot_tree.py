"""
A tree of machines
==================

One Recursive Feature Machine learns one set of features for all rows, at a cost that
grows as the cube of their number. A tree splits the rows first, and each leaf learns
features of its own.
"""

# %%
# The data
# --------
# They are synthetic: which columns make the target depends on the sign of column 0.

import matplotlib.pyplot as plt
import numpy as np

from mlmethods.rfm import RFMRegressor, TreeRFMRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 10))
X[:, 0] = rng.uniform(0.5, 1.5, 3000) * rng.choice([-1, 1], 3000)
y = np.where(X[:, 0] > 0, 2 + X[:, 1] * X[:, 3], X[:, 5] * X[:, 7])
X_train, X_test, y_train, y_test = X[:1600], X[1600:], y[:1600], y[1600:]

# %%
# The fit
# -------
# The settings of the leaves are those of a prototype. One machine on as many rows as
# a leaf has, for comparison:

leaf = RFMRegressor(backend="numpy", random_state=0)
tree = TreeRFMRegressor(leaf, max_leaf_size=400, random_state=0)
tree.fit(X_train, y_train)
alone = leaf.fit(X_train[:400], y_train[:400])
print(f"R2 of one machine on 400 rows: {alone.score(X_test, y_test):.3f}")
print(f"R2 of {tree.n_leaves_} leaves of 400:      {tree.score(X_test, y_test):.3f}")

# %%
# What each leaf uses
# -------------------
# The first split follows column 0, and the leaves on its sides use different columns.

print(tree.leaf_frame(k=2)[["leaf", "rows", "features", "share"]])

# %%

_, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.bar(range(10), np.abs(tree.splits_[0].directions[0]))
left.set_title("Direction of the first split")
left.set_xlabel("column")
shown = right.imshow(tree.leaf_importances_, aspect="auto")
right.set_title("Feature importance in each leaf")
right.set_xlabel("column")
right.set_ylabel("leaf")
right.set_yticks(range(tree.n_leaves_))
_ = plt.colorbar(shown, ax=right)

# %%
# Soft routing
# ------------
# Near a threshold, several leaves can answer together. The temperature is chosen on
# rows that are held out; where a gap lies between the sides, as here, it may be 0, and
# each row asks one leaf alone.

soft = TreeRFMRegressor(leaf, max_leaf_size=400, soft_routing=True, random_state=0)
soft.fit(X_train, y_train)
print(f"temperature {soft.temperature_:.3f}, R2 {soft.score(X_test, y_test):.3f}")
