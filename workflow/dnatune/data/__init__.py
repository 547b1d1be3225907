"""Tasks, their records and where they come from."""
