"""Skeleton-Prompt: few-shot skeleton action recognition on one frozen motion backbone.

This package is the model library. It knows no HTTP, no Redis and no SQL, and importing it imports neither torch nor
a server: ``skeleton_prompt.client`` works from the base install.
"""

__version__ = "0.2.0"
