"""Metrics, confidence intervals, comparisons, and the warnings that go with them."""
