"""The ways to aggregate, one per file."""
