"""dnatune: fine-tune DNA language models and compare optimizers honestly. No Snakemake in here."""
