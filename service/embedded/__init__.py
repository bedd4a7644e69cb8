"""The embedded parts: everything that `skeleton-prompt serve` needs beside the gateway, as child processes.

lock.py        one serve per data folder
child.py       a child process that cannot outlive its parent
tether.py      the few lines that run in the child before it becomes what it should be
redis.py       the private Redis: which binary, which socket, which arguments
supervisor.py  starts the children, watches them, starts them again, stops them
serve.py       the order of it all, from the lock to the last goodbye
"""
