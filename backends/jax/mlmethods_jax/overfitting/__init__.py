"""The overfitting laboratory as pure functions on JAX arrays."""
