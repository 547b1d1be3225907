"""Base models, the rows that they are given, and the operations that they cost."""
