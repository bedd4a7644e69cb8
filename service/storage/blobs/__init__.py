"""Blob stores: a folder, or S3 and compatible services."""
