"""Metrics, baselines, predictions files, and signs of contamination."""
