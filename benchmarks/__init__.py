"""Benchmarks of the library against its peers; see README.md in this folder."""
