"""Videos that are boxes alone, and the files in which other programs write boxes and tracks."""
