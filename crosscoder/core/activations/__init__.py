"""Activations: relu, topk, batch_topk, jumprelu, gated, one per file."""

from crosscoder.core.activations.base import Activation
from crosscoder.core.activations.naming import config_name, display_name
from crosscoder.core.activations.registry import find_activations, from_spec
from crosscoder.core.requirements import Requirements

__all__ = [
    "Activation",
    "Requirements",
    "config_name",
    "display_name",
    "find_activations",
    "from_spec",
]
