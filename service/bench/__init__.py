"""``skeleton-prompt bench``: what a service does in a second, what a request costs it, and how long the slowest waits.

``load`` sends requests, ``processes`` reads what a process tree spent, ``servers`` starts what is measured, ``seed``
fills a data folder with tenants, ``raw`` is the forward pass alone, ``scenarios`` puts them together and ``report``
writes what came of it.
"""
