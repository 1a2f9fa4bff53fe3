"""Results as tables on a terminal: of evaluations, of the store and the networks, of data sets."""
