"""Errors that end a tuning job with a message for the tenant."""

from __future__ import annotations


class JobFailed(Exception):
    """The job cannot succeed; the message is for the tenant."""
