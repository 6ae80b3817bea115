"""Find the pair of files that Neel Nanda's code and its descendants write: weights and settings.

cc_weights.pt, cfg.json        the published crosscoder of Kissane et al.
NAME.pt, NAME_cfg.json         0, 1, … for each save of a run, or a name such as lambda_2_64k
"""

from crosscoder.errors import UserError
from crosscoder.formats.folder import Folder


def find_pair(folder: Folder) -> tuple[str, str] | None:
    """Return (settings, weights), those of the last save if saves are numbered; None if none.

    Raises:
        UserError: There are several pairs without numbers.
    """
    if folder.has_file("cfg.json") and folder.has_file("cc_weights.pt"):
        return "cfg.json", "cc_weights.pt"
    stems = [name.removesuffix("_cfg.json") for name in folder.list_names("*_cfg.json")]
    stems = [stem for stem in stems if folder.has_file(f"{stem}.pt")]
    if not stems:
        return None
    if len(stems) > 1 and not all(stem.isdecimal() for stem in stems):
        listed = ", ".join(f"{stem}.pt" for stem in stems[:5])
        raise UserError(
            f"{folder.path} holds several dictionaries ({listed}): "
            f"name one, e.g. {folder.path}/{stems[0]}.pt"
        )
    return f"{stems[-1]}_cfg.json", f"{stems[-1]}.pt"


def require_pair(folder: Folder) -> tuple[str, str]:
    """Return (settings, weights) of a folder that has them."""
    pair = find_pair(folder)
    assert pair is not None
    return pair
