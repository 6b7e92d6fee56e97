"""
Counting with a forest
======================

A random forest on windows of a smartwatch's signals labels every frame. Smoothed
probabilities make counts of it, and intervals say how far those may be off.
"""

# %%
# Ten volunteers
# --------------
# Real recordings of seven shoulder exercises, cut and joined in a composed order.
# Nobody is in two parts.

from mlmethods.motion import PrimSeq, WindowForest, plot_counts, plot_timeline
from mlmethods.motion.datasets import make_watch_sessions

sessions = make_watch_sessions(sessions=1)
train, rest = sessions.split_by_subject(["7", "8", "9", "10"])
validation, test = rest.split_by_subject(["9", "10"])

# %%
# Raw and smoothed
# ----------------
# The score is the negative action error rate: the share of motions that are wrong,
# missed or extra.

raw = WindowForest(random_state=0).fit(train)
smooth = WindowForest(smoothing=(51, 3.0), random_state=0).fit(train)
for name, model in (("raw", raw), ("smoothed", smooth)):
    print(f"{name}: action error rate {-model.score(test):.2f}")

plot_timeline(test[0].labels, smooth.predict([test[0]])[0])

# %%
# Counts with intervals
# ---------------------
# Two people calibrate the intervals; that is too few for a promise, and the result says
# that they are nominal.

result = PrimSeq(smooth).calibrate(list(validation)).predict(list(test))
print(result.interval.text)
plot_counts(result.counts)
