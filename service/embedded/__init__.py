"""The embedded parts: everything that `skeleton-prompt serve` needs beside the gateway, as child processes.

data_dir_lock.py     one serve per data folder
private_redis.py     the private Redis: which binary, which socket, which arguments
local_torchserve.py  a TorchServe instance as a child process
serve.py             start and stop of all parts, in order
"""
