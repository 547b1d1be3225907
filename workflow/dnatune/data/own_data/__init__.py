"""A user's own files, as FASTA, BED or a table, and the three CSV files of a task that are made of them."""
