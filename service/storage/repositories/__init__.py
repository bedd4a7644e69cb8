"""Tenant-scoped repositories; every SQL query on tenant data is in this package."""
