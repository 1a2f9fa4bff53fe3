"""Regions, tracks and feature rows from windows of frames; `registry` lists the extractors, a file each."""
