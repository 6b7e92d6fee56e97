"""The finished methods, in one table."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method package.

    Attributes
    ----------
    name : str
        Its name on the command line and the first part of its recipes' names.
    title : str
        Its name in prose.
    package : str
        The package to import.
    paper : str
        The paper that describes it.
    url : str
        Where the paper is.
    """

    name: str
    title: str
    package: str
    paper: str
    url: str


METHODS = (
    Method(
        name="rfm",
        title="Recursive Feature Machines",
        package="mlmethods.rfm",
        paper=(
            "Radhakrishnan, Beaglehole, Pandit, Belkin: Mechanism for feature "
            "learning in neural networks and backpropagation-free machine learning "
            "models. Science 383:1461-1467 (2024)"
        ),
        url="https://doi.org/10.1126/science.adi5639",
    ),
    Method(
        name="overfitting",
        title="Benign, tempered, catastrophic: the overfitting laboratory",
        package="mlmethods.overfitting",
        paper=(
            "Mallinar, Simon, Abedsoltan, Pandit, Belkin, Nakkiran: Benign, Tempered, "
            "or Catastrophic: A Taxonomy of Overfitting. NeurIPS (2022)"
        ),
        url="https://arxiv.org/abs/2207.06569",
    ),
    Method(
        name="motion",
        title="StrokeRehab and PrimSeq: functional motions from wearable sensors",
        package="mlmethods.motion",
        paper=(
            "Kaku, Liu, Parnandi, Rajamohan, Venkataramanan, Venkatesan, Wirtanen, "
            "Pandit, Schambra, Fernandez-Granda: StrokeRehab: A Benchmark Dataset for "
            "Sub-second Action Identification. NeurIPS (2022); Parnandi et al.: "
            "PrimSeq: a deep learning-based pipeline to quantitate rehabilitation "
            "training. PLOS Digital Health 1 (2022)"
        ),
        url="https://strokerehabdata.github.io",
    ),
    Method(
        name="privacy",
        title="Directional privacy",
        package="mlmethods.privacy",
        paper=(
            "Faustini, Fernandes, Tonni, McIver, Dras: Directional Privacy for Deep "
            "Learning. arXiv:2211.04686 (2022)"
        ),
        url="https://arxiv.org/abs/2211.04686",
    ),
)
"""Every method that is finished; a new one is one entry here."""
