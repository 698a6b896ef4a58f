"""The benchmarks: AlpacaEval 2, MT-Bench, FLASK, and a task of one's own."""
