"""Pre-training of the backbone and of everything that ships with it."""
