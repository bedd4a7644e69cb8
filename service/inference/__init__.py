"""Engines behind one protocol: the gateway does not know where the forward pass happens."""

from service.inference.protocol import Answer, InferenceEngine

__all__ = ["Answer", "InferenceEngine"]
