"""The page that compares optimizers, in one file that opens offline.

A section is a module's function, which turns the evidence into words, tables and figures, and a template of the
section's name; `page.SECTIONS` has them in their order.
"""
