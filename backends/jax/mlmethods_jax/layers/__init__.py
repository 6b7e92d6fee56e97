"""Network parts that more than one method uses, as flax.nnx modules."""
