"""ReLU SAEs in a torch file without settings.

Goodfire (Llama 3.1 8B and 3.3 70B Instruct) and qresearch (DeepSeek R1 Distill).

    f = relu(x E + b)      x̂ = f D + c

    Goodfire    encoder_linear.weight [F, d]   encoder_linear.bias
                decoder_linear.weight [d, F]   decoder_linear.bias
    qresearch   encoder.weight, encoder.bias, decoder.weight, decoder.bias

Raw activations. The file's name, MODEL-SAE-lN.pt, says that they are the output of layer N.
"""

import re

from crosscoder.core.activations.relu import ReLU
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.readers.dictionary_learning_files import find_weights

OWNERS = {"Llama": "meta-llama", "DeepSeek": "deepseek-ai"}
# prefixes of encoder and decoder
PREFIXES = {"encoder_linear": "decoder_linear", "encoder": "decoder"}
NAME = re.compile(r"(([A-Za-z]+)[\w.-]*)-SAE-l(\d{1,4})\.pth?")


def find_file(folder: Folder) -> str | None:
    """Return the one torch file of a folder; None if there are several, or other weights."""
    names = [*folder.list_names("*.pt"), *folder.list_names("*.pth")]
    has_others = folder.has_file("*.safetensors") or folder.has_file("*.npz")
    return names[0] if len(names) == 1 and not has_others else None


def fits(folder: Folder) -> bool:
    """Tell whether there is one torch file with a linear encoder, and a decoder with a bias."""
    name = find_file(folder)
    if name is None or _has_settings(folder):
        return False
    # an AutoEncoderNew of dictionary_learning has the same tensors
    if find_weights(folder) == name:
        return False
    shapes = folder.read_shapes(name)
    for encoder, decoder in PREFIXES.items():
        if len(shapes.get(f"{encoder}.weight", [])) == 2 and f"{decoder}.bias" in shapes:
            return True
    return False


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one layer."""
    name = find_file(folder)
    assert name is not None
    file = folder.read_tensors(name)
    encoder = next(prefix for prefix in PREFIXES if f"{prefix}.weight" in file)
    decoder = PREFIXES[encoder]
    W_enc = file.take(f"{encoder}.weight", "F d")
    b_enc = file.take(f"{encoder}.bias", "F")
    W_dec = file.take(f"{decoder}.weight", "d F").T.contiguous()
    b_dec = file.take(f"{decoder}.bias", "d")
    file.finish()
    hookpoint, model = _parse_name(name)
    sources, models = build_single_source(W_enc.shape[1], hookpoint, model)
    notes = {"file": name}
    return Dictionary(sources, W_enc, b_enc, W_dec, b_dec, ReLU(), models=models, notes=notes)


def _has_settings(folder: Folder) -> bool:
    return any(map(folder.has_file, ("config.json", "model_cfg.yaml", "*cfg.json")))


def _parse_name(name: str) -> tuple[str, str | None]:
    """Return the hookpoint ("" if unknown) and the model's hub id of a file name."""
    found = NAME.fullmatch(name)
    if not found:
        return "", None
    model, family, layer = found.groups()
    owner = OWNERS.get(family)
    return f"resid_post.{int(layer)}", f"{owner}/{model}" if owner else None


LAYOUT = Layout("linear", (), read, fits=fits)
