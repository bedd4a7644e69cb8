"""Operations shared by several routes, between the endpoint and the repository."""
