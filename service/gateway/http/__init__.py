"""HTTP plumbing shared by the routes: request bodies, authentication, problem details, pagination, OpenAPI."""
