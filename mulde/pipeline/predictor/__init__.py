"""A model at work: on stored videos in memory, on stored videos into a run folder, and on frames as they come."""
