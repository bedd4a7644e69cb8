"""ONNX: export of a prompt version and a small runtime for exported files."""
