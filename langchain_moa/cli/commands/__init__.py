"""The commands of `moa`, one per file, except for `moa eval`."""
