"""The service of a run: its cameras, scores and alerts over HTTP, for a page, for programs and for Prometheus."""
