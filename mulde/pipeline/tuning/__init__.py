"""Settings that normal footage chooses: anomalies are inserted into held-out stretches, candidates find them or not."""
