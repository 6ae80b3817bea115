"""Convert a GGUF file to a folder of transformers: bfloat16 weights, config.json and tokenizer.

transformers can load such a file itself, but then it parses the file's vocabulary three times and
builds the model in float32. Here the vocabulary is parsed once, for the tokenizer. The module
imports transformers and gguf, so import it where a file is converted.
"""

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import (
    MODEL_ARCH_NAMES,
    GGUFReader,
    GGUFValueType,
    ReaderTensor,
    dequantize,
    get_tensor_name_map,
)
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from crosscoder.lm.loading.llama_cpp import Restore
from crosscoder.lm.loading.quiet import silence_transformers

ROWS = 8192
"""Rows that are dequantised together; all rows of an embedding would take three times its size."""


def convert_model(
    gguf: Path, config_file: Path, tokenizer_class: str, restore: Restore, target: Path
) -> None:
    """Write the model of a GGUF file as a folder of transformers.

    Args:
        gguf: The GGUF file.
        config_file: The model's config.json.
        tokenizer_class: Name of the tokenizer's class in transformers.
        restore: Undoes what llama.cpp changed in the weights.
        target: The folder to make.
    """
    silence_transformers()
    target.mkdir()
    shutil.copyfile(config_file, target / "config.json")
    weights = read_weights(gguf, transformers.AutoConfig.from_pretrained(target), restore)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    del weights
    # AutoTokenizer would parse the whole file for the name of this class
    tokenizer = getattr(transformers, tokenizer_class).from_pretrained(
        gguf.parent, gguf_file=gguf.name
    )
    tokenizer.save_pretrained(target)


def read_weights(
    gguf: Path, config: transformers.PreTrainedConfig, restore: Restore
) -> dict[str, Float[Tensor, "..."]]:
    """Return the weights of a GGUF file in bfloat16 by their names in transformers."""
    reader = TensorReader(gguf)
    names = name_tensors(reader, config)
    sizes = config.to_dict()
    weights = {}
    for tensor in reader.tensors:
        name = names[tensor.name]
        weights[name] = restore(name, dequantise(tensor), sizes).bfloat16()
    return weights


def name_tensors(reader: GGUFReader, config: transformers.PreTrainedConfig) -> dict[str, str]:
    """Return the name in transformers of each tensor of a GGUF file."""
    found = reader.fields["general.architecture"].contents()
    architecture = next(key for key, name in MODEL_ARCH_NAMES.items() if name == found)
    known = get_tensor_name_map(architecture, config.num_hidden_layers)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    names = {}
    for name in model.state_dict():
        names[known.get_name(name, try_suffixes=(".weight",))] = name
    return names


def dequantise(tensor: ReaderTensor) -> Float[Tensor, "..."]:
    """Return the values of a tensor in float32."""
    values = np.empty(tensor.shape[::-1], np.float32)
    for start in range(0, len(values), ROWS):
        rows = slice(start, start + ROWS)
        values[rows] = dequantize(tensor.data[rows], tensor.tensor_type)
    return torch.from_numpy(values)


class TensorReader(GGUFReader):
    """Reader of a GGUF file's tensors that steps over the arrays of its metadata.

    `GGUFReader` makes views of every entry, which takes most of its time.
    """

    def _get_field_parts(
        self, orig_offs: int, raw_type: Any
    ) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        return measure_array(self.data[orig_offs:].data), [], [], [GGUFValueType.ARRAY]


def measure_array(data: memoryview) -> int:
    """Return the bytes that an array takes at the beginning of the data.

    It consists of the type of its entries, their number, and the entries: numbers, or strings
    behind their lengths.
    """
    entry_type, n_entries = struct.unpack_from("<IQ", data)
    end = struct.calcsize("<IQ")
    if entry_type != GGUFValueType.STRING:
        dtype = GGUFReader.gguf_scalar_to_np[GGUFValueType(entry_type)]
        return end + n_entries * np.dtype(dtype).itemsize
    for _ in range(n_entries):
        (length,) = struct.unpack_from("<Q", data, end)
        end += struct.calcsize("<Q") + length
    return end
