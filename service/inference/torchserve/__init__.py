"""The TorchServe engine: client, instance pool, wire codec, handler and model archive."""
