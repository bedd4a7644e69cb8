"""The local engine: a fair queue and a dynamic batcher, in process or over worker processes."""
