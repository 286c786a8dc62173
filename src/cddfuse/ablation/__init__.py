"""The ablation table of a paper: variants trained on one budget, scored, in one table."""
