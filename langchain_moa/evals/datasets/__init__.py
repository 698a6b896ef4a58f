"""Data files: those that are downloaded, those that ship with the package, and JSON Lines."""
