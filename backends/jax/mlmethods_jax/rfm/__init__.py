"""Recursive feature machines and the average gradient outer product, in JAX."""
