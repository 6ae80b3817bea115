"""Activation stores on disk: format, validation, quantization, copies."""
