"""The devices of these tests: one that is pretended, and CUDA where there is a GPU."""

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.devices import on_cuda


@pytest.fixture(scope="module", params=["pretend", pytest.param("cuda", marks=on_cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the name of a device that refuses to be mixed with the CPU."""
    if request.param == "pretend":
        pytest.importorskip("tests.helpers.pretend_device", exc_type=AttributeError)
    # gradients are computed in this thread: a thread of C++ that runs Python cannot end with it
    with torch.autograd.set_multithreading_enabled(request.param != "pretend"):
        yield request.param
