"""Objects that live as long as the application and are passed to the routes."""
