"""Base models, how they are fed and what they cost."""
