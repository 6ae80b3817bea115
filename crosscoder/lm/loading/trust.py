"""Load the language models that a run names only if the user has used them before, or trusts them.

train.py notes the models that it trains on. A crosscoder's config.json and a store's meta.json name
models, too, and may come from somebody else. Models that no train.py of this user has trained on
are not downloaded, read or run until the user asks for it with trust_models=true.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crosscoder.errors import NotApplicable, plain
from crosscoder.installation import PACKAGE
from crosscoder.io.known import is_known, remember
from crosscoder.lm.loading.folders import find_local_folder, resolve_folder
from crosscoder.lm.loading.load import LM
from crosscoder.lm.loading.tiny import TinyLM


@dataclass(frozen=True)
class NamedLM(LM):
    """A language model that a run names; it is loaded only if it is trusted."""

    def find(self, name: str) -> Path:
        if not self.may_load():
            names = " and ".join(plain(repr(name), 80) for name in _list_names(self))
            raise NotApplicable(
                f"this crosscoder names the model {names}, which no training of yours has used on "
                "this machine: if you trust its source, trust_models=true loads it"
            )
        return resolve_folder(name)

    def may_load(self) -> bool:
        return all(_is_trusted(name) for name in _list_names(self))


def remember_models(lms: Mapping[str, LM | TinyLM]) -> None:
    """Note models that the user has chosen; from now on, runs that name them may load them."""
    for lm in lms.values():
        if isinstance(lm, LM):
            for name in _list_names(lm):
                if not _is_trusted(name):
                    remember("models", _identify(name))


def _list_names(lm: LM) -> list[str]:
    """List the names of the weights and the adapter, if there is one."""
    return [name for name in (lm.weights, lm.adapter) if name]


def _is_trusted(name: str) -> bool:
    """Return whether a model is pinned, belongs to this package, or was used before."""
    folder = find_local_folder(name)
    is_ours = folder is not None and folder.resolve().is_relative_to(PACKAGE)
    return name.startswith("pinned:") or is_ours or is_known("models", _identify(name))


def _identify(name: str) -> str:
    """Return the absolute folder of a model, or its id on the hub."""
    folder = find_local_folder(name)
    return f"hub:{name}" if folder is None else str(folder.resolve())
