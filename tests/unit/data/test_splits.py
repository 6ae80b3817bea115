import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.data import Harvest, Stored, Text
from crosscoder.data.corpora.text import Chats
from crosscoder.errors import UserError
from tests.helpers.small import store_of

SIZES = {"train": 1000, "validation": 50, "heldout": 100}


def chats(split: str) -> list[dict]:
    return [{"messages": [{"role": "user", "content": f"{split} {i} " * 9}]} for i in range(40)]


def test_text_is_harvested_for_both_splits(tiny_pair, tmp_path):
    corpus = Chats(train=chats("train"), heldout=chats("heldout"))
    data = Text([corpus], [1.0], seq_len=64)
    splits = data.make_splits(
        tiny_pair, ["resid_post.1"], ["chat"], Harvest(tmp_path, 256, 512), SIZES
    )
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


NAN, INFINITY = float("nan"), float("inf")
NONSENSE = [
    *({"shares": [x]} for x in (NAN, INFINITY, -0.5, 0, True, "1", None)),
    *({"shares": x} for x in (1.0, "1", None)),
    *({"seq_len": x} for x in (1, 0, -8, 64.0, NAN, True, "64", None)),
    *({"buffer_tokens": x} for x in (0, -1, 1e5, NAN, True)),
    *({"sample_tokens": x} for x in (0, -1, 1e5, NAN, False)),
    *({"max_unusable": x} for x in (-0.1, 1.5, NAN, True, False, "0.1", None)),
    *({"repeat": x} for x in (1, "no", None)),
    {"mode": "both"},
]


class Unread:
    """A corpus that nobody may read."""

    name = "unread"

    def documents(self, split):
        raise AssertionError


@pytest.mark.parametrize("settings", NONSENSE, ids=str)
def test_invalid_settings_are_refused(settings, unchecked):
    with pytest.raises(UserError) as error:
        Text(**{"corpora": [Unread()], "shares": [1.0]} | settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["store", "stream"])
@pytest.mark.parametrize("part", ["train", "validation", "heldout"])
@pytest.mark.parametrize("size", [0, -5, NAN, INFINITY, 1e5, 100.5, True, "100", None])
def test_invalid_sizes_are_refused_before_anything_is_read(
    tiny_pair, tmp_path, unchecked, mode, part, size
):
    name = "n_tokens" if part == "train" else f"n_{part}"
    with pytest.raises(UserError, match=f"{name} is a whole number from 1, not"):
        Text([Unread()], [1.0], mode=mode).make_splits(
            tiny_pair, [], None, Harvest(tmp_path), {**SIZES, part: size}
        )


def test_existing_stores_are_opened(tmp_path, tiny_pair):
    streams = {"base": torch.randn(10, 3), "chat": torch.randn(10, 5)}
    for split in ("train", "heldout"):
        store_of(tmp_path / split, streams, [10])
    data = Stored(str(tmp_path / "train"), str(tmp_path / "heldout"))
    assert data.make_splits(tiny_pair, [], None, Harvest(tmp_path), {}).sources.names == (
        "base",
        "chat",
    )
    assert data.make_splits(tiny_pair, [], ["chat"], Harvest(tmp_path), {}).sources.names == (
        "chat",
    )


def test_a_store_of_special_tokens_alone_is_refused_before_training(tmp_path, tiny_pair):
    store_of(tmp_path / "train", {"base": torch.randn(10, 3)}, [10])
    store_of(
        tmp_path / "heldout", {"base": torch.randn(10, 3)}, [10], torch.full((10,), Kind.SPECIAL)
    )
    with pytest.raises(UserError, match="heldout has no tokens but special ones"):
        Stored(str(tmp_path / "train"), str(tmp_path / "heldout")).make_splits(
            tiny_pair, [], None, Harvest(tmp_path), {}
        )


def test_stores_with_different_sources_are_refused(tmp_path, tiny_pair):
    store_of(tmp_path / "train", {"base": torch.randn(10, 3)}, [10])
    store_of(tmp_path / "heldout", {"base": torch.randn(10, 4)}, [10])
    with pytest.raises(
        UserError, match=r"\[base\] of width 4, but the crosscoder expects \[base\] of width 3"
    ):
        Stored(str(tmp_path / "train"), str(tmp_path / "heldout")).make_splits(
            tiny_pair, [], None, Harvest(tmp_path), {}
        )
