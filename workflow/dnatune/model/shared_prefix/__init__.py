"""Rows that share one prompt prefix, exactly."""
