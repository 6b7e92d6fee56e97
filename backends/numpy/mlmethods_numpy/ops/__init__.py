"""The twelve operations in NumPy and SciPy, float64."""
