"""Arguments that are one of a few words, and settings of classes in conf/, are checked."""

import importlib
import inspect
import pkgutil
import re
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType

import pytest
import torch

import crosscoder
from crosscoder.core.activations.topk import TopK
from crosscoder.data.corpora.corpus import read_split, take_split
from crosscoder.data.corpora.text import PythonDocs
from crosscoder.data.storage.quantization import make_shard
from crosscoder.errors import UserError
from crosscoder.evals.support.benchmark import make_contrast
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.patch import patch, patch_base
from crosscoder.lm import load_pair
from crosscoder.lm.branches import make_branches
from tests.helpers.small import crosscoder_of
from tests.unit.evals.behaviours import SPEC

PACKAGES = ("core", "losses", "constraints", "interventions", "analysis", "evals", "lm", "data")
WRONG = "not a choice"


def modules():
    for package in PACKAGES:
        folder = importlib.import_module(f"crosscoder.{package}")
        for found in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}."):
            yield importlib.import_module(found.name)


def is_choice(annotation) -> bool:
    """Return whether an annotation has a Literal of texts."""
    if typing.get_origin(annotation) is typing.Literal:
        return True
    parts = typing.get_args(annotation) if isinstance(annotation, UnionType) else ()
    return any(is_choice(part) for part in parts) or (
        typing.get_origin(annotation) is typing.Union
        and any(is_choice(part) for part in typing.get_args(annotation))
    )


def find_choices() -> set[str]:
    """Return `function.argument` of public functions and methods that take one of a few words."""
    found = set()
    for module in modules():
        for name, member in inspect.getmembers(module):
            if name.startswith("_") or getattr(member, "__module__", "") != module.__name__:
                continue
            functions = {name: member} if inspect.isfunction(member) else {}
            if inspect.isclass(member) and not is_dataclass(member):
                for key, method in inspect.getmembers(member, inspect.isfunction):
                    if not key.startswith("_") or key == "__init__":
                        functions[f"{name}.{key}"] = method
            for key, function in functions.items():
                for argument in inspect.signature(function).parameters.values():
                    if is_choice(argument.annotation):
                        found.add(f"{key}.{argument.name}")
    return found


def open_edit(**settings) -> None:
    pair = load_pair("tiny")
    sources = pair.sources()
    made = crosscoder.Crosscoder(sources, 8, TopK(2)).fold()
    with pair.edit("chat", ablate(made, [0]), **settings):
        pass


# what is called with a wrong word, by function and argument
CALLS = {
    "Crosscoder.encode.mode": lambda word: crosscoder_of(TopK(2)).encode(
        torch.zeros(1, 12), mode=word
    ),
    "Crosscoder.decoder_norms.units": lambda word: crosscoder_of(TopK(2)).decoder_norms(word),
    "Pair.__init__.residency": lambda word: load_pair("tiny", residency=word),
    "Pair.__init__.align": lambda word: load_pair("tiny", align=word),
    "Pair.edit.mode": lambda word: open_edit(mode=word),
    "make_contrast.split": lambda word: make_contrast(SPEC, word, None),
    "make_shard.storage": lambda word: make_shard(torch.zeros(1, 2), word),
    "read_split.split": lambda word: next(read_split(PythonDocs(), word)),
    "take_split.split": lambda word: next(take_split([], 10, word)),
    "patch.latents": lambda word: patch(crosscoder_of(TopK(2)).fold(), word),
    "patch_base.latents": lambda word: patch_base(crosscoder_of(TopK(2)).fold(), word),
    "make_branches.branching": lambda word: make_branches(
        torch.arange(4), torch.arange(4), torch.tensor([1]), 2, word
    ),
}
# reached through the functions above
INNER = {
    "open_edit.mode",
    "Lockstep.__init__.mode",
    "LoadedModels.__init__.residency",
    "select_rows.positions",
    "find_sycophancy_features.positions",
    "read.packing",
    "read_streams.packing",
    "Passes.__init__.batch_tokens",
    "Passes.__init__.compile",
    "Passes.read.packing",
    "compile_layers.packing",
    "pack_aligned.split",
    "pack_documents.split",
    "mix_documents.split",
    "iter_sequences.split",
    "read_corpus_rows.split",
    "Corpus.documents.split",
    "require_token_counts.split",
    "make_shortage_error.split",
}


def test_every_argument_that_is_a_choice_is_tested_here():
    found = find_choices()
    assert len(found) > 5
    unknown = {name for name in found - INNER if name not in CALLS}
    assert not unknown, "check it with require_choice and add a call above"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_wrong_word_is_refused(call):
    with pytest.raises(UserError, match=f" not '{WRONG}'| found '{WRONG}'"):
        call(WRONG)


def find_settings():
    """Return (class, field) for the numbers, truth values and choices of classes in conf/."""
    text = "".join(path.read_text() for path in Path("conf").rglob("*.yaml"))
    groups = "data|evals|analysis|losses|constraints"
    for target in sorted(set(re.findall(rf"crosscoder\.(?:{groups})[\w.]*", text))):
        module, _, name = target.rpartition(".")
        cls = getattr(importlib.import_module(module), name, None)
        if not (inspect.isclass(cls) and is_dataclass(cls)):
            continue
        for field in fields(cls):
            is_union = isinstance(field.type, UnionType)
            parts = typing.get_args(field.type) if is_union else (field.type,)
            is_number = all(part in (int, float, bool, type(None)) for part in parts)
            if is_number or typing.get_origin(field.type) is typing.Literal:
                yield pytest.param(cls, field, id=f"{name}.{field.name}")


SETTINGS = list(find_settings())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("cls", "field"), SETTINGS)
def test_a_setting_of_another_type_is_refused_by_name(cls, field):
    made = object.__new__(cls)
    for other in fields(cls):
        value = other.default
        if other.default_factory is not MISSING:
            value = other.default_factory()
        object.__setattr__(made, other.name, value)
    object.__setattr__(made, field.name, WRONG)
    with pytest.raises(UserError, match=f"{field.name}.* not .*{WRONG}"):
        made.__post_init__()
