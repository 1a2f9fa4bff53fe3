"""Regions, tracks and feature rows from windows of frames; the networks that can be named."""
