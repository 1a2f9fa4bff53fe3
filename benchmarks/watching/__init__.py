"""What `benchmarks/live.py` and `tests/live` are made of: cameras of a real server, `mulde watch` beside them, figures."""
