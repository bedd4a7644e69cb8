"""The `skeleton-prompt` program: one module per group of commands, each importing what it needs when it runs."""

from service.cli.app import main

__all__ = ["main"]
