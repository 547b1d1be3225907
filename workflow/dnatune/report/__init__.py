"""The page that compares optimizers, in one file that opens offline.

A section is a module of `sections`, which turns the evidence into words, tables and figures, and a template of the
module's name; `page.SECTIONS` has them in their order.
"""
