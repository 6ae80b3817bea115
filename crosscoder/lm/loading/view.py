"""Make a view of a model folder for transformers: links to known files, and a checked config.json.

A model folder may come from anywhere and hold anything: pickles, code, an adapter that names
another model, pipes. transformers looks for more files with every version. So it does not get the
folder itself, but a view with the files that are known.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosscoder.errors import UserError, describe_foreign
from crosscoder.io.files import require_regular
from crosscoder.io.schema import read_json
from crosscoder.io.scratch import scratch_folder
from crosscoder.lm.loading.configuration import NAME, read_config
from crosscoder.lm.loading.weights import INDEX, WHOLE, find_weights

SETTINGS_FILES = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
)
"""Small files, each a JSON object."""
TOKENIZER_FILE = re.compile(
    r"(tokenizer(\..+)?|vocab|tekken|byte_maps|emoji|normalizer)\.json|.+\.(model|txt|tiktoken|jinja)"
)
"""Names of files that may be large, which only their own parsers read."""
TEMPLATE_FOLDER = "additional_chat_templates"


@contextmanager
def open_view(
    folder: Path, refusal: str, weights: bool = False, model: Path | None = None
) -> Iterator[Path]:
    """Context manager: yield a view of a model folder; every failure to read it becomes one line.

    Args:
        folder: The model folder.
        refusal: The beginning of error messages, e.g. "cannot load 'x'".
        weights: Whether the view contains the files of weights.
        model: The folder whose config.json the view contains, if it is another one.

    Raises:
        UserError: A file is missing or wrong, or the code inside the context fails.
    """
    with scratch_folder(prefix="crosscoder-model-") as place:
        view = place / "model"
        view.mkdir()
        try:
            config = read_config(model or folder)
            (view / NAME).write_text(json.dumps(config), encoding="utf-8")
            _link_text_files(folder, view)
            if weights:
                _link_weights(folder, view)
            yield view
        except UserError as error:
            raise UserError(f"{refusal}: {error}") from error
        except BaseException as error:
            # a panic of Rust code is not an Exception
            is_panic = type(error).__name__ == "PanicException"
            if not (isinstance(error, Exception) or is_panic):
                raise
            reason = describe_foreign(error).replace(str(view), str(folder))
            raise UserError(f"{refusal}: {reason}") from error


def _link_text_files(folder: Path, view: Path) -> None:
    """Link a folder's settings, which must be JSON objects, and the files of its tokenizer."""
    for path in sorted(folder.iterdir()):
        if path.name in SETTINGS_FILES:
            read_json(path, dict)
        elif TOKENIZER_FILE.fullmatch(path.name):
            require_regular(path)
        else:
            continue
        (view / path.name).symlink_to(path.absolute())
    if (folder / TEMPLATE_FOLDER).is_dir():
        (view / TEMPLATE_FOLDER).mkdir()
        for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja")):
            require_regular(path)
            (view / TEMPLATE_FOLDER / path.name).symlink_to(path.absolute())


def _link_weights(folder: Path, view: Path) -> None:
    """Link a folder's weights, and their index if they are in several files."""
    files = find_weights(folder)
    if files[0].name != WHOLE:
        (view / INDEX).symlink_to((folder / INDEX).absolute())
    for path in files:
        (view / path.name).symlink_to(path.absolute())
