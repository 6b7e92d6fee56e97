"""
What the metrics see
====================

Three wrong predictions of the same recording: motions that begin late, labels that
flicker, and motions that are left out. Which metric notices what?
"""

# %%
# A recording
# -----------
# A composed session of real watch signals; only its labels matter here.

import matplotlib.pyplot as plt
import numpy as np

from mlmethods.motion import Segments, plot_timeline
from mlmethods.motion.datasets import make_watch_sessions
from mlmethods.motion.metrics import evaluate

recording = make_watch_sessions(sessions=1)[0]
truth = recording.labels
frames = truth.to_frames(recording.fs, recording.n_frames)
rng = np.random.default_rng(0)

# %%
# Three mistakes
# --------------

late = np.concatenate([np.repeat(frames[0], 20), frames[:-20]])
flicker = frames.copy()
for start in rng.choice(len(frames) - 3, 40, replace=False):
    flicker[start : start + 3] = rng.integers(len(truth.classes))
missing = frames.copy()
for first, last in zip(truth.start[2::4], truth.end[2::4], strict=True):
    first, last = round(first * recording.fs), round(last * recording.fs)
    missing[first:last] = missing[first - 1]

predictions = {
    name: Segments.from_frames(y, recording.fs, truth.classes)
    for name, y in (("late", late), ("flicker", flicker), ("missing", missing))
}
figure, axes = plt.subplots(3, 1, figsize=(9, 9), layout="constrained")
for ax, (name, found) in zip(axes, predictions.items(), strict=True):
    plot_timeline(truth, found, ax=ax)
    ax.set_title(name)

# %%
# Four numbers
# ------------
# The accuracy of frames likes the flicker best, which would multiply the count. The
# edit score and the action error rate do not mind when a motion began.

for name, found in predictions.items():
    result = evaluate([truth], [found]).to_dict()
    print(
        f"{name:8} {len(found.sequence()):3} motions of {len(truth.sequence())}: "
        f"accuracy {result['accuracy']:.1f}, F1@50 {result['f1@50']:.1f}, "
        f"edit score {result['edit']:.1f}, action error rate {result['aer']:.2f}"
    )
