"""What commands print; the commands themselves stand in `mulde.cli`."""
