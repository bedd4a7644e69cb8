"""Engines behind one protocol: the gateway does not know where the forward pass happens."""

from service.inference.interface import InferenceEngine, PredictionResult

__all__ = ["InferenceEngine", "PredictionResult"]
