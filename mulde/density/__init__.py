"""Densities of rows (N, D): MULDE, the baselines, and what they are made of. Arrays only."""
