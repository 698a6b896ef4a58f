"""The commands of `moa eval`, one per file."""
