"""Engines of methods in NumPy."""
