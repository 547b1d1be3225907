"""How far an experiment is: read from the files of its stages, and shown on a terminal, in a line or as JSON."""
