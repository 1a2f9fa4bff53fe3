"""Features of videos into the store: plan, windows, engines for many videos, export and import."""
