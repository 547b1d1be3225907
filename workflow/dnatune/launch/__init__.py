"""Starting ranks and keeping one writer to a run."""
