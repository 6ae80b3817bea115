import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from crosscoder.errors import UserError
from crosscoder.io.tensors import (
    FLOATS,
    read_shapes,
    read_tensors,
    read_tensors_and_metadata,
    require_tensor,
    write_tensors,
)


def test_what_is_written_is_read(tmp_path):
    path, weight = tmp_path / "a.safetensors", torch.randn(2, 3).T
    before = os.umask(0o022)
    try:
        write_tensors(path, {"W": weight, "b": torch.ones(1)}, {"about": "x"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # safetensors alone makes it 0600
    tensors, metadata = read_tensors_and_metadata(path)
    assert torch.equal(tensors["W"], weight)
    assert metadata["about"] == "x"
    assert list(read_tensors(path, ["b", "c"])) == ["b"]
    assert read_shapes(path) == {"W": [3, 2], "b": [1]}


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, (2**60).to_bytes(8, "little") + b"{}", "folder", "pipe", None]
)
@pytest.mark.parametrize("read", [read_tensors, read_shapes])
def test_what_is_no_file_of_tensors_is_one_line(content, read, tmp_path):
    path = tmp_path / "a.safetensors"
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.safetensors") as error:
        read(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_tensor_of_another_kind_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"acts": torch.ones(4, 3), "ids": torch.ones(4, dtype=torch.int32)}, path)
    tensors = read_tensors(path)
    assert require_tensor(path, tensors, "acts", [4, 3], FLOATS).shape == (4, 3)
    for name, shape, message in (
        ("norm", [4], "lacks the tensor 'norm'"),
        ("acts", [4, 2], r"'acts' is float32 of shape \[4, 3\], not .* of shape \[4, 2\]"),
        ("ids", [4], "'ids' is int32"),
    ):
        with pytest.raises(UserError, match=message):
            require_tensor(path, tensors, name, shape, FLOATS)
