"""`moa eval`: whether a mixture is worth it, on published benchmarks and on the user's own task."""
