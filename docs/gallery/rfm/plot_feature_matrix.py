"""
Which columns matter
====================

A Recursive Feature Machine predicts whether a tumor is malignant from 30 measurements,
and shows which measurements, and which pairs of them, the prediction depends on.
"""

# %%
# The data
# --------
# The columns are standardized: the default bandwidth of 10 presumes it.

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlmethods.rfm import RFMClassifier, plot_feature_matrix

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# The fit
# -------
# ``n_iter=0`` is the plain kernel machine, for comparison.

for n_iter in (0, 5):
    model = make_pipeline(
        StandardScaler(),
        RFMClassifier(n_iter=n_iter, backend="numpy", random_state=0),
    )
    model.fit(X_train, y_train)
    print(f"{n_iter} updates: accuracy {model.score(X_test, y_test):.3f}")

# %%
# The feature matrix
# ------------------
# Its diagonal ranks the columns.

machine = model[-1]
ranked = sorted(zip(machine.feature_importances_, X.columns, strict=True), reverse=True)
for share, name in ranked[:5]:
    print(f"{name:25} {share:.3f}")

# %%
# Entries off the diagonal are pairs of columns that act together.

_, ax = plt.subplots(figsize=(8, 6), layout="constrained")
plot_feature_matrix(machine, names=X.columns, k=10, ax=ax)
