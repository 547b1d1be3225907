"""The stages: one module each, with its arguments, its call and what it writes."""
