"""Metrics, bootstrap intervals and the warnings that go with them."""
