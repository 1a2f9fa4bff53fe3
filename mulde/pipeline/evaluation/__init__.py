"""Scores against labels: figures, which event found which anomaly, what each stream adds."""
