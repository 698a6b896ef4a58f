"""Whether a system is worth its cost: AlpacaEval 2, MT-Bench, FLASK and the user's own task, for any chat model."""
