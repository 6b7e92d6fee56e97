"""Solvers for kernel systems in JAX: iterative for many rows, and ridge paths."""
