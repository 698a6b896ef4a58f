"""Running an evaluation: generating answers, judging them, estimating the cost first."""
