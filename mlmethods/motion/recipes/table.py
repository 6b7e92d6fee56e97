"""Published rates from published counts."""

from __future__ import annotations

from mlmethods.common.recipe import RecipeContext, recipe

# ASRF on the test patients: means over patients, and the pooled error rate.
_PUBLISHED = {
    "mean_sensitivity": ("sensitivity, mean over patients", 0.7148),
    "mean_fdr": ("false discovery rate, mean over patients", 0.1563),
    "micro_aer": ("action error rate, pooled", 0.3408),
}
_CLOSE = 1e-4


@recipe(
    "motion-primseq-table",
    title="Rates of the published counts",
    claim="sensitivity, false discovery rate and action error rate follow from counts",
    source="Parnandi et al.: PrimSeq, PLOS Digital Health (2022)",
    criterion="three published rates of the test patients, each within 1e-4",
)
def table(context: RecipeContext) -> None:
    """Compute the rates of the eight test patients from their published counts."""
    from mlmethods.motion.metrics import primseq_counts, rates_from_counts

    context.dtype = "float64"
    found = rates_from_counts(primseq_counts(), group="patient")
    for key, (claim, published) in _PUBLISHED.items():
        ours = float(found.attrs[key])
        context.check(
            claim=claim,
            published=f"{published:.4f}",
            ours=f"{ours:.5f}",
            tolerance_text="within 1e-4",
            passed=abs(ours - published) <= _CLOSE,
        )
        context.value(**{key: ours})
    context.table(found.reset_index(), "rates")
