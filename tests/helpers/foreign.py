"""Files as other libraries write them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file


def write(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a folder with these files: tensors by name, or settings."""
    writers = {
        ".safetensors": lambda content, path: save_file(
            {k: v.contiguous() for k, v in content.items()}, path
        ),
        ".npz": lambda content, path: np.savez(path, **{k: v.numpy() for k, v in content.items()}),
        ".pt": lambda content, path: torch.save(dict(content), path),
        ".pth": lambda content, path: torch.save(dict(content), path),
        ".json": lambda content, path: path.write_text(json.dumps(content)),
        ".yaml": lambda content, path: path.write_text(yaml.safe_dump(content)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        writers[Path(name).suffix](content, folder / name)
    return folder
