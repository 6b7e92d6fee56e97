"""
A concentration means nothing without a dimension
=================================================

The von Mises-Fisher mechanism releases a random direction near the true one. How near
depends on the concentration kappa *and* on the dimension p, the number of parameters
that share the direction.
"""

# %%
# The cosine of a release
# -----------------------
# The same kappa in four dimensions, up to that of LeNet.

import matplotlib.pyplot as plt
import numpy as np

from mlmethods.privacy import VonMisesFisherMechanism, gdp_mu, kappa_for_gdp, vmf

kappas = np.geomspace(0.1, 1e6, 200)
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for p in (10, 1000, 61_706, 10_000_000):
    ax.plot(kappas, [vmf.mean_resultant(p, k) for k in kappas], label=f"p = {p:,}")
ax.set(
    xscale="log",
    xlabel="concentration kappa",
    ylabel="expected cosine with the true direction",
)
ax.legend()

# %%
# With kappa 500 a direction in ten dimensions is hardly disturbed; in 61,706 dimensions
# the expected cosine is below .01, and only the average over a batch carries a signal.
#
# What that promises
# ------------------
# For the replacement of one example by another, one release is 2 kappa-differentially
# private. In high dimension nearly all of it is far more private than that: two
# opposite directions look like two Gaussians at distance mu = 2 kappa / sqrt(p).

for p in (10, 1000, 61_706):
    mechanism = VonMisesFisherMechanism(500.0)
    distance = float(mechanism.delta(0.0, p))
    print(
        f"p = {p:6,}: pure epsilon {mechanism.pure_epsilon():.0f}, "
        f"mu {gdp_mu(mechanism, p):8.2f}, total variation {distance:.4f}"
    )

# %%
# So choose mu, and let the dimension say which kappa it takes:

for p in (1000, 61_706, 10_000_000):
    print(f"p = {p:10,}: kappa {kappa_for_gdp(1.0, p):8.1f} for mu = 1")
