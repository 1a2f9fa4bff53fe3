"""Scores into events with reasons, pictures and suppression."""
