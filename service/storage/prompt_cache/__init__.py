"""The prompt cache: memory, then Redis, then the blob store."""
