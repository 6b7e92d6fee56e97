"""The fifteen operations as jitted JAX functions."""
