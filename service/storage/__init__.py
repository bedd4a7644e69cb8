"""The truth: SQL for what is known, blobs for what is large; a tenant's data is reached by its repository alone.

Nothing is imported here: an engine that runs elsewhere needs files and prompts alone, and the libraries of databases
take most of a second to load.
"""
