"""Charts of the report: Altair's, drawn as SVG without a network."""
