"""Iterative solvers for kernel systems too large to factorize, in JAX."""
