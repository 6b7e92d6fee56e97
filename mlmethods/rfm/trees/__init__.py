"""Trees whose leaves are Recursive Feature Machines."""
