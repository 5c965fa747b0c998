"""Measurements of the product and of its peers. docs/benchmarks.md says what each one answers."""
