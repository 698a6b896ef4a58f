"""Graders for a task of one's own: string and number matching, Python functions, pairwise comparison by a judge."""
