"""Saved crosscoders: `model.safetensors` and `config.json` in a folder or on the hub."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscoder.core import activations
from crosscoder.core.card import model_card
from crosscoder.core.model import Crosscoder
from crosscoder.core.saved import Config
from crosscoder.core.sources import Sources
from crosscoder.errors import UserError, first_line, translate_write_errors
from crosscoder.io.files import atomic_write, make_folders
from crosscoder.io.hub import download_snapshot
from crosscoder.io.links import require_inside
from crosscoder.io.own_paths import remove_paths
from crosscoder.io.paths import looks_like_path
from crosscoder.io.results import pack_results
from crosscoder.io.run_dir import Run, replace_nonfinite
from crosscoder.io.schema import Object, check_content, read_json
from crosscoder.io.scratch import scratch_folder
from crosscoder.io.tensors import FLOATS, read_shapes, read_tensors, require_tensor, write_tensors

FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def save(crosscoder: Crosscoder, folder: str | Path) -> Path:
    """Fold a crosscoder and write both files, complete or not at all."""
    folder = Path(folder)
    folded = crosscoder.fold()
    content = replace_nonfinite(build_config(folded))
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    make_folders(folder)
    # config.json appears after the weights, and only if these can be written
    with translate_write_errors(folder), atomic_write(folder / CONFIG_FILE) as config:
        config.write_text(text)
        write_tensors(folder / WEIGHTS_FILE, folded.state_dict())
    return folder


def build_config(crosscoder: Crosscoder) -> dict[str, Any]:
    """Return the content of `config.json`: plain JSON."""
    scales = crosscoder.sources.split(crosscoder.scale)
    return {
        "format": FORMAT,
        "sources": crosscoder.sources.spec(),
        "n_latents": crosscoder.n_latents,
        "activation": crosscoder.activation.spec(),
        "scale": {name: scale.mean().item() for name, scale in scales.items()},
        "provenance": crosscoder.provenance,
    }


def load(path: str | Path, activation_module: str | None = None) -> Crosscoder:
    """Load a saved crosscoder; see `Crosscoder.from_pretrained`."""
    folder = _locate(path)
    try:
        crosscoder = _build(folder, activation_module)
    except (UserError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} is not a saved crosscoder: {first_line(error)}") from error
    with_nan = [name for name, x in crosscoder.state_dict().items() if x.isnan().any()]
    if with_nan:
        raise UserError(
            f"{folder} is not a usable saved crosscoder: {', '.join(with_nan)} holds NaN"
        )
    crosscoder.origin = folder
    run = Run(folder.parent)
    # elsewhere metrics.json would belong to something else
    if folder.name == "crosscoder" and run.metrics.exists():
        crosscoder.metrics = run.read_metrics()
    return crosscoder.eval()


def push_to_hub(
    crosscoder: Crosscoder,
    repo: str,
    private: bool = True,
    metrics: Mapping[str, Any] | None = None,
    results: bool | str | Path = False,
) -> str:
    """Upload a crosscoder with a model card; see `Crosscoder.push_to_hub`."""
    from huggingface_hub import HfApi

    run = _find_run(crosscoder, results)
    with scratch_folder() as scratch:
        folder = save(crosscoder, scratch / "crosscoder")
        config = json.loads((folder / CONFIG_FILE).read_text())
        # absolute paths are of this machine only, and private
        config["provenance"] = remove_paths(config["provenance"])
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        files: list[str] = []
        if run is not None:
            weights = {name: folder / name for name in (CONFIG_FILE, WEIGHTS_FILE)}
            files = pack_results(run, weights, folder)
        metrics = crosscoder.metrics if metrics is None else metrics
        card = model_card(config, metrics, repo, files)
        (folder / "README.md").write_text(card, encoding="utf-8")
        HfApi().create_repo(repo, private=private, exist_ok=True)
        return str(HfApi().upload_folder(repo_id=repo, folder_path=folder))


def _find_run(crosscoder: Crosscoder, results: bool | str | Path) -> Run | None:
    """Return the run whose results are uploaded; None for no results."""
    if results is False:
        return None
    if results is not True:
        return Run(results)
    origin = crosscoder.origin
    if origin is None or origin.name != "crosscoder":
        raise UserError(
            "results=True needs a crosscoder that was loaded from a run folder: "
            "name the run, results='outputs/RUN'"
        )
    return Run(origin.parent)


def _build(folder: Path, activation_module: str | None) -> Crosscoder:
    """Build a crosscoder from the files of a folder."""
    config = read_json(folder / CONFIG_FILE, Object)
    _require_format(folder, config)
    check_content(config, Config, CONFIG_FILE)
    sources = Sources.from_spec(config["sources"])
    activation = activations.from_spec(config["activation"], activation_module)
    shape = [config["n_latents"], sources.d_total]
    weights_file = folder / WEIGHTS_FILE
    found = read_shapes(weights_file).get("W_enc")
    if found != shape:  # before memory is made for it
        raise UserError(f"its W_enc has shape {found}, but config.json says {shape}")
    weights = read_tensors(weights_file)
    empty = torch.zeros(shape)
    crosscoder = Crosscoder(
        sources, config["n_latents"], activation, init=lambda *_: (empty, empty.clone())
    )
    crosscoder.groups = weights.get("groups")
    _require_weights(weights_file, weights, crosscoder.state_dict())
    crosscoder.load_state_dict(weights)
    crosscoder.provenance = dict(config["provenance"])
    return crosscoder


def _require_format(folder: Path, config: Mapping[str, Any]) -> None:
    if config.get("format") != FORMAT:
        found = ascii(config.get("format"))[:20]
        raise UserError(f"{folder} has crosscoder format {found}; this version reads {FORMAT}")


def _require_weights(path: Path, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights whose shapes or types are not those of the crosscoder's own."""
    for name, tensor in own.items():
        types = (torch.int64,) if name == "groups" else FLOATS
        found = require_tensor(path, weights, name, tensor.shape, types)
        if name == "groups" and not 0 <= int(found.min()) <= int(found.max()) < len(found):
            raise UserError(
                f"{path}: 'groups' must hold latent numbers in [0, {len(found)}), found "
                f"{int(found.min())} to {int(found.max())}"
            )


def _locate(path: str | Path) -> Path:
    """Return the folder of a saved crosscoder: this one, its crosscoder/, or one from the hub."""
    for folder in (Path(path), Path(path) / "crosscoder"):
        files = [folder / CONFIG_FILE, folder / WEIGHTS_FILE]
        if all(file.exists() for file in files):
            for file in files:
                require_inside(path, file)
            return folder
    if Path(path).exists():
        raise UserError(
            f"no crosscoder at {path}: expected {CONFIG_FILE} and {WEIGHTS_FILE} there or in its "
            "crosscoder/"
        )
    if looks_like_path(str(path)) or "/" not in str(path):
        raise UserError(f"no crosscoder at {path}: there is no such folder")
    return download_snapshot(str(path), [WEIGHTS_FILE, CONFIG_FILE])
