"""A model and stored features into scores of frames and regions, and the level above which they alarm."""
