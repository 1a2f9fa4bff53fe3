"""Tables of features on disk: one file per video and kind with a passport, the catalogue of names, upkeep."""
