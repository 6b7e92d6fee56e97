"""Counts that others published, to compute rates from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["primseq_counts"]

_ACTIVITIES = (
    *("RTT", "shelf", "brushing", "combing", "deodorant"),
    *("drinking", "face wash", "feeding", "glasses"),
)
# For each patient: true, predicted, substituted and extra primitives by activity.
_COUNTS = {
    "s4": (
        (285, 135, 157, 48, 213, 90, 150, 391, 145),
        (276, 112, 176, 36, 128, 89, 163, 307, 85),
        (39, 16, 29, 5, 25, 21, 31, 64, 15),
        (14, 0, 29, 0, 3, 7, 27, 4, 1),
    ),
    "s17": (
        (377, 266, 252, 41, 171, 192, 163, 412, 106),
        (364, 334, 217, 41, 124, 143, 203, 266, 64),
        (21, 32, 45, 5, 12, 26, 36, 38, 4),
        (29, 71, 12, 5, 2, 4, 46, 3, 3),
    ),
    "s26": (
        (340, 251, 134, 11, 98, 49, 177, 269, 65),
        (331, 249, 108, 9, 64, 50, 108, 192, 52),
        (0, 2, 22, 0, 3, 10, 6, 26, 4),
        (3, 3, 5, 0, 0, 7, 1, 3, 2),
    ),
    "s37": (
        (288, 235, 202, 50, 105, 78, 239, 217, 102),
        (272, 223, 125, 39, 75, 61, 142, 193, 63),
        (0, 0, 27, 2, 3, 8, 10, 36, 3),
        (13, 5, 0, 2, 0, 2, 0, 9, 1),
    ),
    "s39": (
        (303, 129, 162, 36, 92, 87, 205, 311, 65),
        (361, 223, 118, 33, 77, 63, 127, 358, 75),
        (3, 4, 44, 1, 2, 2, 13, 57, 8),
        (59, 94, 3, 1, 5, 2, 0, 74, 14),
    ),
    "s42": (
        (323, 245, 231, 55, 109, 65, 164, 421, 59),
        (312, 244, 181, 45, 80, 66, 113, 301, 68),
        (0, 0, 55, 4, 5, 11, 1, 36, 2),
        (4, 0, 3, 1, 1, 4, 1, 4, 14),
    ),
    "s44": (
        (336, 254, 266, 43, 138, 93, 153, 330, 56),
        (328, 271, 117, 43, 103, 85, 104, 277, 62),
        (6, 16, 20, 9, 14, 5, 13, 67, 5),
        (10, 23, 0, 3, 2, 5, 3, 10, 10),
    ),
    "s47": (
        (330, 229, 253, 45, 108, 78, 139, 185, 66),
        (306, 201, 130, 36, 70, 60, 97, 141, 40),
        (0, 1, 14, 0, 7, 10, 16, 13, 1),
        (0, 4, 0, 0, 0, 1, 2, 6, 0),
    ),
}


def primseq_counts() -> pd.DataFrame:
    """Return the published counts of ASRF on the test patients of StrokeRehab.

    Returns
    -------
    pandas.DataFrame
        A row for each of 8 patients and 9 activities, with the columns `patient`,
        `activity`, `gt_len`, `pred_len`, `sub`, `missed` and `extra`, ready for
        :func:`rates_from_counts`.

    Notes
    -----
    Printed by the notebook ``imu_data/raw_ensembling_las_2.ipynb`` of the code released
    with the paper (github.com/aakashrkaku/seq2seq_hrar). Missed primitives are not
    printed; they follow from the lengths.

    References
    ----------
    A. Parnandi et al., "PrimSeq: a deep learning-based pipeline to quantitate
    rehabilitation training", PLOS Digital Health 1 (2022).

    Examples
    --------
    >>> from mlmethods.motion.metrics import primseq_counts, rates_from_counts
    >>> rates = rates_from_counts(primseq_counts(), group="patient")
    >>> {name: round(value, 4) for name, value in rates.attrs.items()}["mean_fdr"]
    0.1563
    """
    import pandas as pd

    rows = [
        (patient, activity, gt_len, pred_len, sub, gt_len - pred_len + extra, extra)
        for patient, counts in _COUNTS.items()
        for activity, gt_len, pred_len, sub, extra in zip(
            _ACTIVITIES, *counts, strict=True
        )
    ]
    columns = ["patient", "activity", "gt_len", "pred_len", "sub", "missed", "extra"]
    return pd.DataFrame(rows, columns=columns)
