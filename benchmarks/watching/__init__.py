"""What `benchmarks/live.py` and `tests/live` are made of: cameras of a real server and `mulde watch` beside them."""
