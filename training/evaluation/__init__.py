"""How good it is: every protocol of the method by one command, its figures from cells that are never measured twice.

Start with ``experiments.py`` (what is measured), then ``episodes.py`` (how), then ``targets.py`` (what it must
reach).
"""
