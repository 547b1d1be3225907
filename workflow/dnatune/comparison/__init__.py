"""What finished runs say about each other."""
