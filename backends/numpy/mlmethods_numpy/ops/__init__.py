"""The fifteen operations in NumPy and SciPy, float64."""
