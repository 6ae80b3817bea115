"""Activations: relu, topk, batch_topk, jumprelu, one per file."""

from crosscoder.activations.base import Activation, from_spec

__all__ = ["Activation", "from_spec"]
