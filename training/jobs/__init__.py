"""Tuning jobs: the worker, one attempt of a job and what it publishes."""
