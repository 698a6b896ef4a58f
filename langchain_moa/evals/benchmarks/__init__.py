"""The benchmarks: AlpacaEval 2, MT-Bench, FLASK, IFEval, and a task of one's own."""
