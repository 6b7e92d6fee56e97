"""Mechanisms: what each release of an example guarantees, and how it is drawn."""

from mlmethods.privacy.mechanisms.base import mechanism_from_dict
from mlmethods.privacy.mechanisms.controls import NoPrivacy, ProjectedNormalMechanism
from mlmethods.privacy.mechanisms.gaussian import GaussianMechanism
from mlmethods.privacy.mechanisms.laplace import (
    CoordinateLaplaceMechanism,
    EuclideanLaplaceMechanism,
)
from mlmethods.privacy.mechanisms.purkayastha import PurkayasthaMechanism
from mlmethods.privacy.mechanisms.vonmisesfisher import VonMisesFisherMechanism

__all__ = [
    "CoordinateLaplaceMechanism",
    "EuclideanLaplaceMechanism",
    "GaussianMechanism",
    "NoPrivacy",
    "ProjectedNormalMechanism",
    "PurkayasthaMechanism",
    "VonMisesFisherMechanism",
    "mechanism_from_dict",
]
