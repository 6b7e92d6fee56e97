"""The demonstration: every finished method runs one small real experiment."""

from mlmethods.demo.page import build_demo

__all__ = ["build_demo"]
