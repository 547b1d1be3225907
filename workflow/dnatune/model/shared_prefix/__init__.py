"""Rows in which many examples share one prompt prefix, with exact results."""
