"""Find the weights in a folder of dictionary_learning, of any generation and fork.

    hub, save_pretrained                 model.safetensors, config.json (and trainer_config.json)
    run of crosscoder_learning, dfc      model_final.pt, checkpoint_STEP.pt, config.json
    run of saprmarks' package            trainer_N/ae.pt, trainer_N/checkpoints/ae_STEP.pt,
                                         config.json
    other uploads                        cc_weights.pt, config.json

Finished weights take precedence over checkpoints. If there are only checkpoints, the last one is
read, with a warning.
"""

import re
import warnings

from crosscoder.formats.folder import Folder

FINISHED = ("model.safetensors", "ae.pt", "cc_weights.pt", "model_final.pt")
CHECKPOINT = re.compile(r"(?:checkpoint|ae)_[0-9]+\.pt")


def find_weights(folder: Folder) -> str | None:
    """Return the name of the file with the weights; None if there is none."""
    for name in FINISHED:
        if folder.has_file(name):
            return name
    checkpoints = [name for name in folder.list_names("*_*.pt") if CHECKPOINT.fullmatch(name)]
    return checkpoints[-1] if checkpoints else None


def require_weights(folder: Folder) -> str:
    """Return the name of the file with the weights of a folder that has one."""
    name = find_weights(folder)
    assert name is not None
    return name


def find_shapes(folder: Folder) -> dict[str, list[int]]:
    """Read the names and shapes of the weights; empty if there are none."""
    name = find_weights(folder)
    if name is None or folder.has_file("cfg.json"):
        return {}
    return folder.read_shapes(name)


def warn_of_checkpoint(folder: Folder, name: str) -> None:
    """Warn if weights come from an unfinished run, unless the user named the file."""
    if CHECKPOINT.fullmatch(name) and folder.chosen is None:
        warnings.warn(
            f"{folder.path} holds no finished weights: {name}, its last checkpoint, is read",
            stacklevel=3,
        )


def is_saprmarks(name: str) -> bool:
    """Tell whether saprmarks' package wrote the file; its codes exclude the decoder norms."""
    return name.startswith("ae")
