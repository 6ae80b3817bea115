"""Marks of tests that need a GPU, and of those that need none."""

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
on_cuda = [pytest.mark.cuda, pytest.mark.skipif(not HAS_CUDA, reason="there is no GPU")]
# tests/conftest.py chooses the interpreter before triton is imported
interpreted = pytest.mark.skipif(HAS_CUDA, reason="Triton's interpreter is off where a GPU is")
