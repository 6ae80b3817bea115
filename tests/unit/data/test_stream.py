"""Training straight from the models: every token once, from a buffer that is renewed, in memory that is bounded."""

import threading
from itertools import islice

import pytest
import torch

from crosscoder.data import Harvest, Stream, Text
from crosscoder.data import harvest as harvest_module
from crosscoder.data import stream as stream_module
from crosscoder.data.stream import Ahead, schedule
from crosscoder.data.text import Files
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint
from crosscoder.lm.hooks import read
from crosscoder.types import Kind

WORDS = ["a", "stream", "is", "text", "whose", "tokens", "are", "read", "once", "and", "then", "forgotten"]
N_TOKENS, SEQ_LEN = 2400, 32


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Text:
    """Documents of different lengths."""
    folder, paths = tmp_path_factory.mktemp("text"), []
    for i in range(80):
        path = folder / f"{i}.txt"
        path.write_text(" ".join(WORDS[(i * j) % len(WORDS)] + str(j) for j in range(1, 10 + i % 7)))
        paths.append(str(path))
    return Text([Files(paths)], [1.0], SEQ_LEN, mode="stream", buffer_tokens=1200, sample_tokens=320)


@pytest.fixture
def splits(text, tiny_pair, tmp_path):
    sizes = {"train": N_TOKENS, "validation": 64, "heldout": 64}
    return text.stores(tiny_pair, ["resid_post.1"], None, Harvest(tmp_path / "stores", batch_tokens=128), sizes)


@pytest.fixture
def stream(splits) -> Stream:
    return splits.stream


@pytest.fixture
def numbered(stream, monkeypatch) -> Stream:
    """What it reads of a token is the token's number in the text, by its ids so far: nothing is run."""
    n_read: list[int] = []

    def numbers(self, found):
        n_read.append(len(found))
        return torch.cat([self_numbers[id_of(tokens)][rows] for tokens, rows in found])[:, None].expand(
            -1, self.sources.d_total
        )

    def id_of(tokens) -> tuple:
        return tuple(tokens.ids.tolist()), int(tokens.document[0])

    self_numbers, number = {}, 0
    for tokens in islice(stream._sequences(), N_TOKENS // SEQ_LEN):
        kept = tokens.kind != Kind.SPECIAL
        column = torch.full((SEQ_LEN,), -1.0)
        column[kept] = number + torch.arange(int(kept.sum())).float()
        self_numbers[id_of(tokens)] = column
        number += int(kept.sum())
    monkeypatch.setattr(Stream, "_read", numbers)
    object.__setattr__(stream, "n_read", n_read)
    object.__setattr__(stream, "n_eligible", number)
    return stream


def taken(stream: Stream, batch_size: int, n: int, **options) -> list[int]:
    batches = stream.batches(batch_size, **options)
    rows = torch.cat([batch[:, 0] for batch in islice(batches, n)]).int().tolist()
    batches.close()
    return rows


@pytest.mark.parametrize(("n_slots", "batch"), [(10, 1), (100, 10), (90, 30), (7, 7), (1000, 8)])
def test_at_least_nine_tenths_are_replaced_per_refresh_and_nothing_twice(n_slots, batch):
    held, number, seen = torch.full((n_slots,), -1), 0, []
    for i, (free, batches) in enumerate(islice(schedule(n_slots, batch, torch.Generator().manual_seed(0)), 20)):
        assert i == 0 or len(free) >= 0.9 * n_slots
        assert batches.numel() >= 0.9 * n_slots
        assert (held[free] == -1).all()  # what is replaced was taken
        held[free] = torch.arange(number, number + len(free))
        number += len(free)
        assert (held >= 0).all()
        for slots in batches:
            seen += held[slots].tolist()
            held[slots] = -1
    assert len(seen) == len(set(seen))  # once
    assert set(range(number)) - set(seen) == set(held[held >= 0].tolist())  # and none is lost


@pytest.mark.parametrize("of", [1, 2])
def test_each_token_is_trained_on_once_in_an_order_that_is_mixed(numbered, of):
    parts = [taken(numbered, 40, 40, part=(which, of)) for which in range(of)]
    for part in parts:
        assert len(part) == len(set(part)) == 40 * 40 // of
        assert part != sorted(part)
        first = torch.tensor(part[:100]).double()
        assert first.std() > 60 / of  # from all over the buffer
    if of == 1:  # nothing is held back for long: all of the first thousand but what the buffer still has
        assert len(set(range(1000)) - set(parts[0])) < 100


def test_the_seed_decides(numbered):
    first, again, other = (taken(numbered, 40, 5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("first", [1, 7, 13, 14, 15, 29])
def test_training_can_go_on_anywhere_and_only_what_is_needed_is_read_again(numbered, first):
    whole = taken(numbered, 40, first + 10, seed=3)
    numbered.n_read.clear()
    assert taken(numbered, 40, 10, seed=3, first=first) == whole[first * 40 :]
    if first > 14:  # what the buffer no longer holds is passed over
        assert sum(numbered.n_read) * SEQ_LEN < N_TOKENS


def test_it_gives_what_the_models_give(stream, tiny_pair):
    excluded = torch.cat([t.kind for t in islice(stream._sequences(), 40)]) == Kind.SPECIAL
    expected = []
    for tokens in islice(stream._sequences(), 40):
        ids, position = tokens.ids[None], tokens.position[None]
        hookpoint = Hookpoint(1, "resid_post")
        expected.append(
            torch.cat([read(tiny_pair[lm], [hookpoint], ids, position)[hookpoint][0] for lm in ("base", "chat")], 1)
        )
    expected = torch.cat(expected)[~excluded]
    batches = stream.batches(100, seed=0)
    rows = torch.cat(list(islice(batches, 5)))
    batches.close()
    nearest = torch.cdist(rows, expected, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert nearest.values.max() < 1e-3
    assert len(set(nearest.indices.tolist())) > 400  # a token may look like another


def test_the_models_run_ahead_but_not_without_bound(monkeypatch):
    made: list[int] = []

    def blocks():
        for i in range(100):
            made.append(i)
            yield torch.full((10, 1), float(i))

    ahead = Ahead(blocks(), most=45)
    rows = torch.empty(10, 1)
    ahead.move(rows, torch.arange(10))
    assert rows.eq(0).all()
    for _ in range(100):
        if len(made) >= 6:
            break
        threading.Event().wait(0.02)
    assert 5 <= len(made) <= 7
    ahead.close()
    assert not ahead._thread.is_alive()


def test_an_error_of_the_models_is_raised_where_it_matters(stream, monkeypatch):
    monkeypatch.setattr(harvest_module, "read", lambda *_: (_ for _ in ()).throw(UserError("chat gives NaN")))
    with pytest.raises(UserError, match="chat gives NaN"):
        next(stream.batches(40))


def test_no_thread_stays_behind(stream):
    before = threading.active_count()
    taken(stream, 40, 3)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("asked", "gpus", "given"),
    [("cuda", 4, "cuda:3"), ("cuda", 1, "cuda"), ("cuda:0", 4, "cuda:0"), ("cpu", 4, "cpu"), ("cpu", 0, "cpu")],
)
def test_of_several_gpus_the_models_take_the_last(monkeypatch, asked, gpus, given):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert stream_module.beside_training(torch.device(asked)) == torch.device(given)


def test_a_sample_of_it_is_kept_for_the_scale(splits):
    assert len(splits.train) == 320
    assert splits.provenance()["train"] is None


def test_another_mode_is_refused(text, unchecked):
    with pytest.raises(UserError, match=r"data\.mode is store or stream, not 'both'"):
        Text(text.corpora, text.shares, mode="both")
