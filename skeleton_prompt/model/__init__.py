"""The model: backbone, features, prompt files and the engine that runs them."""
