"""The HTTP face of the service: one small module per resource, ``app.create_app`` puts them together."""
