"""The service: gateway, inference, storage, embedded parts and the command line."""
