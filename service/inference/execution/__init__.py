"""Batch execution shared by the local engine and the TorchServe handler."""
