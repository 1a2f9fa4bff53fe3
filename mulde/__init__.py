"""mulde: learn what is normal in video and say when something is not."""

__version__ = "0.2.0"
