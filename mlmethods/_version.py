"""The version of the distribution; a literal, so that archives without history build."""

__version__ = "0.1.0"
