"""The twelve operations as jitted JAX functions."""
