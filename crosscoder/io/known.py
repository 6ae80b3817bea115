"""Models and run configurations that this user has chosen on this machine.

A run folder may come from somebody else, and it names models to load and classes to make. What the
user has chosen before is loaded again without a question, wherever the folder is now. Everything
else needs the user's consent. The notes are kept in the user's cache folder.
"""

import hashlib
import logging
import os
from pathlib import Path
from typing import Literal

from crosscoder.errors import UserError
from crosscoder.io.files import write_text

log = logging.getLogger(__name__)

Kind = Literal["models", "configurations"]
NOTE_LENGTH = 1000  # characters of the text that are kept, for a person who reads the note


def cache_dir() -> Path:
    """Return the folder of converted weights and harvested activations.

    It is `$CROSSCODER_CACHE` or `~/.cache/crosscoder`.
    """
    return Path(os.environ.get("CROSSCODER_CACHE", "~/.cache/crosscoder")).expanduser()


def remember(kind: Kind, text: str) -> None:
    """Note that the user has chosen this. Log a warning if the note cannot be written."""
    try:
        path = _note_path(kind, text)
        if not path.exists():
            write_text(path, text[:NOTE_LENGTH])
    except (OSError, RuntimeError, UserError) as error:
        log.warning(
            "cannot note what this run uses (%s): later commands will not recognise it as yours; "
            "see trust_models=true",
            error,
        )


def is_known(kind: Kind, text: str) -> bool:
    """Return whether the user has chosen this before."""
    try:
        return _note_path(kind, text).is_file()
    except (OSError, RuntimeError):  # no home directory
        return False


def _note_path(kind: Kind, text: str) -> Path:
    digest = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
    return cache_dir() / "known" / kind / digest
