"""The model bundle and what a model knows: calibration, footage, weights, settings, the index of normal rows."""
