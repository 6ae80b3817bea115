"""Missing, misshapen, non-finite and unknown tensors of every layout are refused in one line."""

from pathlib import Path

import pytest
import torch

import crosscoder
from crosscoder.formats import list_layouts
from tests.unit.formats import folders
from tests.unit.formats.folders import assert_refused, find_folder, find_tensor_file

# weights that identify a layout
KNOWN_BY = (
    "model.safetensors encoder.weight",
    "Llama-3.1-8B-Instruct-SAE-l19.pth encoder_linear.weight",
)
every_layout = pytest.mark.parametrize("layout", list_layouts())


def spoil(layout: str, folder: Path, change) -> str:
    """Write a layout's folder with its first tensor file changed, and return the file's name."""
    files = folders.build_files(layout)
    change(files[find_tensor_file(files)])
    folders.write(find_folder(folder, layout), files)
    return find_tensor_file(files)


@every_layout
def test_a_missing_weight_is_refused(layout, tmp_path):
    file = find_tensor_file(folders.build_files(layout))
    needed = [name for name in folders.build_files(layout)[file] if "enc" in name or "W_" in name]
    for i, name in enumerate(needed):
        spoil(layout, tmp_path / str(i), lambda tensors, name=name: tensors.pop(name))
        words = ("no known layout",) if f"{file} {name}" in KNOWN_BY else (file, name)
        assert_refused(
            find_folder(tmp_path / str(i), layout),
            *words,
            input_scale=folders.INPUT_SCALE.get(layout),
        )
    assert len(needed) > 1


@every_layout
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_implausible_numbers_are_refused(layout, value, tmp_path):
    def change(tensors):
        next(tensor for tensor in tensors.values() if tensor.ndim > 1).view(-1)[1] = value

    spoil(layout, tmp_path, change)
    assert_refused(find_folder(tmp_path, layout), input_scale=folders.INPUT_SCALE.get(layout))


@every_layout
@pytest.mark.parametrize(
    "spoilt",
    [lambda x: x[:0], lambda x: x[..., :-1], lambda x: x[None], lambda x: x.to(torch.complex64)],
)
def test_a_wrong_shape_or_dtype_is_refused(layout, spoilt, tmp_path):
    def change(tensors):
        name = max(tensors, key=lambda name: tensors[name].numel())
        tensors[name] = spoilt(tensors[name])

    spoil(layout, tmp_path, change)
    assert_refused(find_folder(tmp_path, layout), input_scale=folders.INPUT_SCALE.get(layout))


@pytest.mark.parametrize("shape", [(0, 6), (4, 0)])
def test_an_empty_dictionary_is_refused(shape, tmp_path):
    (d, F), names = shape, ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    tensors = dict(zip(names, map(torch.ones, ((d, F), (F,), (F, d), (d,), (F,))), strict=True))
    assert_refused(
        folders.write(tmp_path, {"params.npz": tensors}),
        "params.npz",
        f"'W_enc' has shape [{d}, {F}]",
    )


@every_layout
def test_an_unknown_tensor_is_refused(layout, tmp_path):
    file = spoil(layout, tmp_path, lambda tensors: tensors.update(secret=torch.ones(3)))
    assert_refused(
        find_folder(tmp_path, layout),
        file,
        "also holds 'secret'",
        input_scale=folders.INPUT_SCALE.get(layout),
    )


@every_layout
def test_a_truncated_file_is_refused_by_name(layout, tmp_path):
    for i, name in enumerate(folders.build_files(layout)):
        folder = folders.write_folder(layout, tmp_path / str(i))
        file = folder / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        assert_refused(folder, name, input_scale=folders.INPUT_SCALE.get(layout))


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.randn(6, device="meta"),
        lambda: torch.quantize_per_tensor(torch.randn(6), 0.1, 0, torch.qint8),
        lambda: torch.nested.nested_tensor([torch.randn(6)], layout=torch.jagged),
        lambda: ["no", "tensor"],
    ],
    ids=["meta", "quantized", "nested", "list"],
)
@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
def test_tensors_without_plain_numbers_are_refused(odd, tmp_path):
    files = folders.kissane()
    files["cc_weights.pt"]["b_enc"] = odd()
    assert_refused(folders.write(tmp_path, files), "cc_weights.pt", input_scale=0.5)


def test_parameters_are_read_like_tensors(tmp_path):
    files = folders.crosscode()
    files["model.pt"] = {
        name: torch.nn.Parameter(x, x.is_floating_point()) for name, x in files["model.pt"].items()
    }
    loaded = crosscoder.load(folders.write(tmp_path, files), input_scale=1.0)
    assert not any(buffer.requires_grad for buffer in loaded.buffers())
    assert loaded.fold() is loaded


def test_weights_in_upper_and_lower_case_are_refused(tmp_path):
    file = spoil(
        "gemma_scope", tmp_path, lambda tensors: tensors.update(w_enc=tensors["W_enc"] + 1)
    )
    assert_refused(tmp_path, file, "upper and lower case")
