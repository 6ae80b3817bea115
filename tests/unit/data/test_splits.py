import pytest
import torch

from crosscoder.data import Harvest, Stored, Text
from crosscoder.data.text import Chats
from crosscoder.errors import UserError
from tests.small import store_of

SIZES = {"train": 1000, "validation": 50, "heldout": 100}


def chats(split: str) -> list[dict]:
    return [{"messages": [{"role": "user", "content": f"{split} {i} " * 9}]} for i in range(40)]


def test_text_is_harvested_for_both_splits(tiny_pair, tmp_path):
    corpus = Chats(train=chats("train"), heldout=chats("heldout"))
    data = Text([corpus], [1.0], seq_len=64)
    splits = data.stores(tiny_pair, ["resid_post.1"], ["chat"], Harvest(tmp_path, 256, 512), SIZES)
    assert (len(splits.train), len(splits.heldout)) == (1024, 128)
    assert len(splits.validation) == 64
    assert splits.sources.names == ("chat",)
    assert splits.train.acts(0, ["chat"]).shape == (512, 32)

    def words(store) -> str:
        ids = torch.cat([store.tokens(shard).ids for shard in store])
        return tiny_pair.tokenizer.decode(ids.tolist())

    assert "heldout" not in words(splits.train)
    assert "train" not in words(splits.heldout)
    made = splits.provenance()
    assert made["pair"] == tiny_pair.spec()
    assert made["heldout"] == str(splits.heldout.folder.absolute())


@pytest.mark.parametrize("shares", [[], [1.0, 1.0], [0.0], [-1.0]])
def test_shares_must_match_the_corpora(shares):
    with pytest.raises(UserError, match="one positive share per corpus: 1 corpora"):
        Text([Chats([], [])], shares)


def test_stores_that_exist_are_opened(tmp_path, tiny_pair):
    streams = {"base": torch.randn(10, 3), "chat": torch.randn(10, 5)}
    for split in ("train", "heldout"):
        store_of(tmp_path / split, streams, [10])
    data = Stored(str(tmp_path / "train"), str(tmp_path / "heldout"))
    assert data.stores(tiny_pair, [], None, Harvest(tmp_path), {}).sources.names == ("base", "chat")
    assert data.stores(tiny_pair, [], ["chat"], Harvest(tmp_path), {}).sources.names == ("chat",)


def test_stores_that_do_not_fit_each_other_are_refused(tmp_path, tiny_pair):
    store_of(tmp_path / "train", {"base": torch.randn(10, 3)}, [10])
    store_of(tmp_path / "heldout", {"base": torch.randn(10, 4)}, [10])
    with pytest.raises(UserError, match=r"\[base\] of width 4, but the crosscoder expects \[base\] of width 3"):
        Stored(str(tmp_path / "train"), str(tmp_path / "heldout")).stores(tiny_pair, [], None, Harvest(tmp_path), {})
