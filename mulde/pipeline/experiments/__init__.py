"""`mulde reproduce` and `mulde toy`: pinned benchmarks and data with known answers."""
