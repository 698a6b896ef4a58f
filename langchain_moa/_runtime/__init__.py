"""One run of the graph: its context, its clock, its traces."""
