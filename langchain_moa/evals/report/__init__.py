"""Reports: scores, costs and comparisons as data, tables, Markdown, CSV, JSON and an HTML page."""
