"""How good it is: every protocol of the method by one command, its figures from cells that are never measured twice.

Start with ``cells.py`` (what is measured), then ``lessons.py`` (how), then ``gates.py`` (what it has to reach).
"""
