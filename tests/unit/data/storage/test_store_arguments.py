"""Arguments of a store as people type them, and how it prints."""

from pathlib import Path

import pytest
import torch

from crosscoder.data import Store
from crosscoder.data.corpora.text import PythonDocs
from crosscoder.distributed import Parallel
from crosscoder.errors import UserError
from tests.helpers.small import store_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    streams = {"base": torch.randn(5, 3), "chat": torch.randn(5, 4)}
    return store_of(tmp_path / "store", streams, [3, 2])


def test_a_store_prints_its_folder_tokens_and_sources(store):
    shown = repr(store)
    assert str(store.folder) in shown
    assert "5 tokens in 2 shards, [base, chat] of width 3, 4, float32" in shown


@pytest.mark.usefixtures("unchecked")
def test_shards_and_sources_that_do_not_exist_are_refused(store):
    for shard in (2, -1, "0", 0.0, None):
        with pytest.raises(UserError, match="shard is a whole number from 0 to 1, not"):
            store.tokens(shard)
        with pytest.raises(UserError, match="shard is a whole number from 0 to 1, not"):
            store.acts(shard, ["base"])
    with pytest.raises(UserError, match=r"names are a list of sources, e\.g\. \['base'\]"):
        store.acts(0, "base")
    with pytest.raises(UserError, match="no source 'it': expected one of base, chat"):
        store.acts(0, ["it"])
    with pytest.raises(UserError, match="source is base or chat, not 'it'"):
        store.median_norm("it")


@pytest.mark.usefixtures("unchecked")
def test_settings_of_corpora_and_processes_are_refused():
    with pytest.raises(UserError, match=r"data\.corpora\.min_chars is a whole number"):
        PythonDocs(min_chars="many")
    with pytest.raises(UserError, match="parallel is tokens or latents, not 'both'"):
        Parallel("both")
