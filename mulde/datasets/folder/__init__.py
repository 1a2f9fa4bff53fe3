"""Own footage: a folder with train/ and test/, and its labels."""
