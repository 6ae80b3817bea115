"""Stores that are written from arrays hold exactly these, and refuse what is no activation."""

import numpy as np
import pytest
import torch

from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store
from crosscoder.errors import UserError

rng = np.random.default_rng(0)
BASE = rng.normal(size=(10, 3)).astype("float32")
CHAT = rng.normal(size=(10, 5)).astype("float32")
WITH_NAN = BASE.copy()
WITH_NAN[4, 1] = np.nan


def test_a_store_holds_the_arrays(tmp_path):
    written = Store.from_arrays(
        tmp_path / "store", {"base": BASE, "chat": CHAT}, ["chat", "base"], shard_tokens=4
    )
    store = Store(tmp_path / "store")
    assert store.counts == [4, 4, 2]
    assert store.sources.names == ("base", "chat")
    assert store.sources.widths == (3, 5)
    assert store.sources.diff_pair == ("chat", "base")
    both = torch.cat([store.acts(shard, ["base", "chat"]) for shard in store])
    assert torch.equal(both, torch.from_numpy(np.concatenate([BASE, CHAT], axis=1)))
    documents = torch.cat([store.tokens(shard).document for shard in store])
    assert documents.tolist() == list(range(10))
    assert store.median_norm("chat") == pytest.approx(
        float(np.median(np.linalg.norm(CHAT, axis=1))), rel=0.2
    )
    assert written.tokens_sha256 == store.tokens_sha256


def test_tokens_and_dtype_are_kept(tmp_path):
    numbers = torch.arange(10)
    tokens = Tokens(numbers + 7, numbers, numbers // 5, torch.full((10,), Kind.CHAT))
    acts = torch.from_numpy(BASE).bfloat16()
    store = Store.from_arrays(tmp_path / "store", {"base": acts}, tokens=tokens)
    assert store.tokens(0).ids.tolist() == (numbers + 7).tolist()
    assert torch.equal(store.acts(0, ["base"]), acts)
    assert store.sources.diff_pair is None


def test_the_same_arrays_are_written_once(tmp_path):
    Store.from_arrays(tmp_path / "store", {"base": BASE})
    file = tmp_path / "store" / "00000.base.safetensors"
    written = file.stat().st_mtime_ns
    Store.from_arrays(tmp_path / "store", {"base": BASE})
    assert file.stat().st_mtime_ns == written
    file.unlink()  # as if the first call had been stopped
    meta = Store(tmp_path / "store")
    meta.meta["sources"]["base"]["checksums"] = [None]
    meta._write_meta()
    again = Store.from_arrays(tmp_path / "store", {"base": BASE})
    assert torch.equal(again.acts(0, ["base"]), torch.from_numpy(BASE))


def test_another_store_is_never_mixed_with_it(tmp_path):
    Store.from_arrays(tmp_path / "store", {"base": BASE})
    for arrays in ({"base": BASE + 1}, {"chat": BASE}, {"base": BASE[:5]}):
        with pytest.raises(UserError, match="holds another store: delete it"):
            Store.from_arrays(tmp_path / "store", arrays)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "at least one array"),
        ({"base": BASE[0]}, r"expected an array \[n_tokens, width\].* found \[3\]"),
        ({"base": BASE.astype("int64")}, r"floating-point numbers, found \[10, 3\] of torch.int64"),
        ({"base": BASE, "chat": CHAT[:9]}, "base 10 torch.float32, chat 9 torch.float32"),
        ({"base": BASE, "chat": CHAT.astype("float64")}, "chat 10 torch.float64"),
        ({"base": WITH_NAN}, "row 4 has NaN or infinity"),
    ],
)
def test_what_is_not_one_row_of_numbers_per_token_is_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        Store.from_arrays(tmp_path / "store", arrays)
    assert not (tmp_path / "store").exists()


def test_wrong_tokens_and_pairs_are_refused(tmp_path):
    numbers = torch.arange(9)
    tokens = Tokens(numbers, numbers, numbers, numbers)
    with pytest.raises(UserError, match="10 rows, 9 tokens"):
        Store.from_arrays(tmp_path / "store", {"base": BASE}, tokens=tokens)
    with pytest.raises(UserError, match="no sources named 'chat'; there is base"):
        Store.from_arrays(tmp_path / "store", {"base": BASE}, ["chat", "base"])
    assert not (tmp_path / "store").exists()
