"""Features of normal videos into a model: folds, exclusions, the sample of normal rows."""
