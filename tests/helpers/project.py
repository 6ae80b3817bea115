"""A copy of the project with what its distribution is built from."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPILED = shutil.ignore_patterns("__pycache__")  # files to leave out
FOLDERS = ("crosscoder", "conf")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "train.py", "evaluate.py")


def copy_project(folder: Path) -> Path:
    """Copy the project into a new folder, and return the folder."""
    folder.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=COMPILED)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder
