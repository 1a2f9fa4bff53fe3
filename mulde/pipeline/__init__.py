"""From videos to models, scores, events and figures: the rooms of the stages, and the stages themselves."""
