"""Marks of tests that need a GPU, of those that need none, and of those that need a compiler."""

import pytest
import torch

from crosscoder.core.kernels import compiled

HAS_CUDA = torch.cuda.is_available()
on_cuda = [pytest.mark.cuda, pytest.mark.skipif(not HAS_CUDA, reason="there is no GPU")]
# tests/conftest.py chooses the interpreter before triton is imported
interpreted = pytest.mark.skipif(HAS_CUDA, reason="Triton's interpreter is off where a GPU is")
needs_compiler = pytest.mark.skipif(
    not compiled.can_compile(), reason="there is no C++ compiler with OpenMP"
)
