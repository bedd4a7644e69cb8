"""Engines behind one protocol: the gateway does not know where the forward pass happens."""

from service.inference.interface import Answer, InferenceEngine

__all__ = ["Answer", "InferenceEngine"]
