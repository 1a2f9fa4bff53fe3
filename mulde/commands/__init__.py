"""The commands: typed functions, each of which calls one function of the pipeline, and what they print."""
