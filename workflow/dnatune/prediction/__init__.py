"""Predict new sequences with a trained model: from tables, FASTA, regions of a genome, and variants."""
