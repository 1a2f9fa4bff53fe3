"""Metrics, protocols, nulls and alarm levels, on arrays of scores and labels."""
