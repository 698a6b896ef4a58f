"""`moa eval`: evaluate systems on published benchmarks and on your own task."""
