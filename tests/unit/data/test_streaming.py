"""Training straight from the models: every token once, shuffled, in bounded memory."""

import re
import threading
from dataclasses import replace
from itertools import islice

import pytest
import torch

from crosscoder import distributed
from crosscoder.core.types import Kind
from crosscoder.data import Harvest, Stream, Text, forward
from crosscoder.data.corpora.text import Files
from crosscoder.data.prefetch import Prefetcher
from crosscoder.data.slots import SlotSchedule
from crosscoder.data.streaming import choose_model_device, isin_sorted
from crosscoder.errors import UserError
from crosscoder.lm import Hookpoint
from crosscoder.lm.hooks import read

WORDS = [
    "a",
    "stream",
    "is",
    "text",
    "whose",
    "tokens",
    "are",
    "read",
    "once",
    "and",
    "then",
    "forgotten",
]
N_TOKENS, SEQ_LEN = 2400, 32


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Text:
    """Write documents of different lengths."""
    folder, paths = tmp_path_factory.mktemp("text"), []
    for i in range(80):
        path = folder / f"{i}.txt"
        path.write_text(
            " ".join(WORDS[(i * j) % len(WORDS)] + str(j) for j in range(1, 10 + i % 7))
        )
        paths.append(str(path))
    return Text(
        [Files(paths)], [1.0], SEQ_LEN, mode="stream", buffer_tokens=1200, sample_tokens=320
    )


@pytest.fixture
def splits(text, tiny_pair, tmp_path):
    sizes = {"train": N_TOKENS, "validation": 64, "heldout": 64}
    return text.make_splits(
        tiny_pair, ["resid_post.1"], None, Harvest(tmp_path / "stores", batch_tokens=128), sizes
    )


@pytest.fixture
def stream(splits) -> Stream:
    return splits.stream


@pytest.fixture
def numbered(stream, monkeypatch) -> Stream:
    """Return a stream whose activation of a token is the token's number; no model is run."""
    n_read: list[int] = []

    def numbers(self, found):
        n_read.append(len(found))
        return torch.cat([self_numbers[id_of(tokens)][rows] for tokens, rows in found])[
            :, None
        ].expand(-1, self.sources.d_total)

    def id_of(tokens) -> tuple:
        return tuple(tokens.ids.tolist()), int(tokens.document[0])

    self_numbers, number = {}, 0
    for tokens in islice(stream._iter_sequences(), N_TOKENS // SEQ_LEN):
        kept = tokens.kind != Kind.SPECIAL
        column = torch.full((SEQ_LEN,), -1.0)
        column[kept] = number + torch.arange(int(kept.sum())).float()
        self_numbers[id_of(tokens)] = column
        number += int(kept.sum())
    monkeypatch.setattr(Stream, "_read_rows", numbers)
    object.__setattr__(stream, "n_read", n_read)
    object.__setattr__(stream, "n_eligible", number)
    return stream


def take(stream: Stream, batch_size: int, n: int, **options) -> list[int]:
    batches = stream.iter_batches(batch_size, **options)
    rows = torch.cat([batch[:, 0] for batch in islice(batches, n)]).int().tolist()
    batches.close()
    return rows


@pytest.mark.parametrize(("n_slots", "batch"), [(10, 1), (100, 10), (90, 30), (7, 7), (1000, 8)])
def test_at_least_nine_tenths_are_replaced_per_refresh_and_no_token_is_used_twice(n_slots, batch):
    schedule = SlotSchedule(n_slots, batch, seed=0)
    held = torch.full((n_slots,), -1)
    number = 0
    seen = []
    for i in range(20):
        refresh = schedule.refresh()
        assert i == 0 or len(refresh.fill) >= 0.9 * n_slots
        assert refresh.batches.numel() >= 0.9 * n_slots
        assert (held[refresh.fill] == -1).all()  # a slot is filled only after its token was used
        held[refresh.fill] = torch.arange(number, number + len(refresh.fill))
        number += len(refresh.fill)
        assert (held >= 0).all()
        assert torch.equal(schedule.held, held)
        assert schedule.n_filled == number
        for slots in refresh.batches:
            seen += held[slots].tolist()
            held[slots] = -1
    assert len(seen) == len(set(seen))  # each token once
    assert set(range(number)) - set(seen) == set(held[held >= 0].tolist())  # and no token is lost


def test_members_of_a_rising_list_are_found():
    values = torch.arange(10)
    wanted = torch.tensor([0, 3, 4, 9, 12])
    assert isin_sorted(values, wanted).nonzero()[:, 0].tolist() == [0, 3, 4, 9]
    assert not isin_sorted(values, wanted[:0]).any()


@pytest.mark.parametrize("of", [1, 2])
def test_each_token_is_trained_on_once_in_shuffled_order(numbered, of):
    parts = [take(numbered, 40, 40, process=(which, of)) for which in range(of)]
    for part in parts:
        assert len(part) == len(set(part)) == 40 * 40 // of
        assert part != sorted(part)
        first = torch.tensor(part[:100]).double()
        assert first.std() > 60 / of  # from all over the buffer
    if (
        of == 1
    ):  # nothing is held back for long: all of the first thousand but what the buffer still has
        assert len(set(range(1000)) - set(parts[0])) < 100


def test_the_seed_decides_the_order(numbered):
    first, again, other = (take(numbered, 40, 5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("first", [1, 7, 13, 14, 15, 29])
def test_training_can_resume_at_any_batch_and_only_needed_tokens_are_read_again(numbered, first):
    whole = take(numbered, 40, first + 10, seed=3)
    numbered.n_read.clear()
    assert take(numbered, 40, 10, seed=3, first=first) == whole[first * 40 :]
    if first > 14:  # what the buffer no longer holds is passed over
        assert sum(numbered.n_read) * SEQ_LEN < N_TOKENS


def test_a_stream_yields_the_activations_of_the_models(stream, tiny_pair):
    excluded = torch.cat([t.kind for t in islice(stream._iter_sequences(), 40)]) == Kind.SPECIAL
    expected = []
    for tokens in islice(stream._iter_sequences(), 40):
        ids, position = tokens.ids[None], tokens.position[None]
        hookpoint = Hookpoint(1, "resid_post")
        expected.append(
            torch.cat(
                [
                    read(tiny_pair[lm], [hookpoint], ids, position)[hookpoint][0]
                    for lm in ("base", "chat")
                ],
                1,
            )
        )
    expected = torch.cat(expected)[~excluded]
    batches = stream.iter_batches(100, seed=0)
    rows = torch.cat(list(islice(batches, 5)))
    batches.close()
    nearest = torch.cdist(rows, expected, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert nearest.values.max() < 1e-3
    assert len(set(nearest.indices.tolist())) > 400  # a token may look like another


def first_batches(stream: Stream, n: int, **options) -> list[torch.Tensor]:
    """Take some batches, and close the stream: the models serve one stream at a time."""
    batches = stream.iter_batches(40, seed=3, **options)
    found = list(islice(batches, n))
    batches.close()
    return found


def add_limits(stream: Stream) -> Stream:
    """Return the stream with limits that make one token in five an outlier of base."""
    found = [
        stream._read_rows([(tokens, torch.arange(SEQ_LEN))])
        for tokens in islice(stream._iter_sequences(), 4)
    ]
    width = stream.sources["base"].width
    norms = torch.cat(found)[:, :width].float().norm(dim=1)
    return replace(stream, limits={"base": float(norms.quantile(0.8)), "chat": 1e9})


def test_an_outlier_leaves_its_slot_to_another_token_of_its_sequence(stream):
    limited = add_limits(stream)
    width, limit = stream.sources["base"].width, limited.limits["base"]
    for before, after in zip(first_batches(stream, 8), first_batches(limited, 8), strict=True):
        large = before[:, :width].float().norm(dim=1) > limit
        assert 0 < large.sum() < 20
        assert torch.equal(before[~large], after[~large])  # all others are where they were
        assert after[:, :width].float().norm(dim=1).max() <= limit


@pytest.mark.parametrize("first", [1, 14, 29])
def test_training_with_outliers_can_resume_at_any_batch(stream, first):
    limited = add_limits(stream)
    whole = first_batches(limited, first + 4)[first:]
    later = first_batches(limited, 4, first=first)
    for one, other in zip(whole, later, strict=True):
        torch.testing.assert_close(one, other)


def test_the_prefetcher_runs_ahead_within_its_limit(monkeypatch):
    made: list[int] = []

    def blocks():
        for i in range(100):
            made.append(i)
            yield torch.full((10, 1), float(i))

    prefetcher = Prefetcher(blocks(), max_rows=45)
    rows = torch.empty(10, 1)
    prefetcher.fill(rows, torch.arange(10))
    assert rows.eq(0).all()
    for _ in range(100):
        if len(made) >= 6:
            break
        threading.Event().wait(0.02)
    assert 5 <= len(made) <= 7
    prefetcher.close()
    assert not prefetcher._thread.is_alive()


def test_an_error_in_the_thread_is_raised_where_batches_are_taken(stream, monkeypatch):
    monkeypatch.setattr(
        forward, "read", lambda *_, **__: (_ for _ in ()).throw(UserError("chat gives NaN"))
    )
    with pytest.raises(UserError, match="chat gives NaN"):
        next(stream.iter_batches(40))


def test_closing_the_batches_ends_the_thread(stream):
    before = threading.active_count()
    take(stream, 40, 3)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("asked", "gpus", "chosen"),
    [
        ("cuda", 4, "cuda:3"),
        ("cuda", 1, "cuda"),
        ("cuda:0", 4, "cuda:0"),
        ("cpu", 4, "cpu"),
        ("cpu", 0, "cpu"),
    ],
)
def test_the_models_use_the_last_of_several_gpus(monkeypatch, asked, gpus, chosen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_model_device(torch.device(asked)) == torch.device(chosen)


def test_a_sample_of_the_stream_is_stored_for_the_scale(splits):
    assert len(splits.train) == 320
    assert splits.provenance()["train"] is None


def test_an_unknown_mode_is_refused(text, unchecked):
    with pytest.raises(UserError, match=r"data\.mode is store or stream, not 'both'"):
        Text(text.corpora, text.shares, mode="both")


# --- text that ends before n_tokens ---

BATCH = 40


@pytest.fixture
def numbered_to_the_end(text, tiny_pair, monkeypatch):
    """Return a function that makes a stream of the whole text; activations are numbers."""

    def make(repeat: bool, buffer_tokens: int) -> tuple[Stream, int]:
        sources = tiny_pair.sources(["resid_post.1"])
        stream = Stream(
            tiny_pair,
            sources,
            sources,
            text.corpora,
            text.shares,
            SEQ_LEN,
            n_tokens=1_000_000,
            batch_tokens=128,
            buffer_tokens=buffer_tokens,
            repeat=repeat,
        )
        once = replace(stream, repeat=False)
        numbers, number = {}, 0
        for tokens in once._iter_sequences():
            kept = tokens.kind != Kind.SPECIAL
            column = torch.full((SEQ_LEN,), -1.0)
            column[kept] = number + torch.arange(int(kept.sum())).float()
            numbers[tuple(tokens.ids.tolist()), int(tokens.document[0])] = column
            number += int(kept.sum())

        def read_numbers(self, found):
            columns = [
                numbers[tuple(t.ids.tolist()), int(t.document[0])][rows] for t, rows in found
            ]
            return torch.cat(columns)[:, None].expand(-1, self.sources.d_total)

        monkeypatch.setattr(Stream, "_read_rows", read_numbers)
        return stream, number

    return make


def take_all(stream: Stream, first: int = 0) -> list[list[int]]:
    """Return the numbers of the tokens in every batch until they end."""
    return [batch[:, 0].int().tolist() for batch in stream.iter_batches(BATCH, seed=3, first=first)]


@pytest.mark.parametrize("buffer_tokens", [160, 1200, 6000, 1_000_000])
def test_without_repeats_each_token_is_used_at_most_once_and_batches_end(
    numbered_to_the_end, buffer_tokens
):
    stream, n_tokens = numbered_to_the_end(False, buffer_tokens)
    batches = take_all(stream)
    rows = [row for batch in batches for row in batch]
    assert all(len(batch) == BATCH for batch in batches)
    assert len(rows) == len(set(rows))
    n_slots = min(buffer_tokens // 2, n_tokens)
    assert len(rows) >= n_tokens - 0.1 * n_slots - 3 * BATCH


@pytest.mark.long
@pytest.mark.parametrize("buffer_tokens", [160, 1200, 6000])
def test_without_repeats_training_resumes_at_any_batch_to_the_same_end(
    numbered_to_the_end, buffer_tokens
):
    stream, _ = numbered_to_the_end(False, buffer_tokens)
    batches = take_all(stream)
    for first in {1, 7, *range(len(batches) - 16, len(batches) + 3)}:
        assert take_all(stream, first) == batches[first:], first


@pytest.mark.long
def test_text_that_ends_begins_again(numbered_to_the_end, caplog):
    stream, n_tokens = numbered_to_the_end(True, 1200)
    caplog.clear()
    n = 3 * n_tokens // BATCH
    rows = take(stream, BATCH, n, seed=3)
    counts = torch.bincount(torch.tensor(rows))
    assert len(counts) == n_tokens
    assert counts.min() >= 2
    assert counts.max() <= 4
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert re.fullmatch(
        r"the text ends after \d+ tokens, before n_tokens=1000000: it begins again", said[0]
    )
    for first in (1, n_tokens // BATCH, n - 5):
        assert take(stream, BATCH, n - first, seed=3, first=first) == rows[first * BATCH :]


def test_resuming_ends_alike_if_the_text_ends_exactly_with_the_buffer(numbered_to_the_end):
    stream, n_tokens = numbered_to_the_end(False, 1200)
    size = next(size for size in range(2, 200) if n_tokens % size == 0)
    stream = replace(stream, buffer_tokens=2 * n_tokens)
    whole = [batch[:, 0].int().tolist() for batch in stream.iter_batches(size)]
    again = [
        batch[:, 0].int().tolist() for batch in stream.iter_batches(size, first=len(whole) - 1)
    ]
    assert again == whole[-1:]
    rows = [row for batch in whole for row in batch]
    assert len(rows) == len(set(rows)) >= 0.9 * n_tokens


def test_text_of_less_than_a_batch_is_refused(numbered_to_the_end):
    stream, n_tokens = numbered_to_the_end(False, 1_000_000)
    with pytest.raises(
        UserError, match=f"only {n_tokens:,} tokens to train on, too few for batch_size=10,000"
    ):
        list(stream.iter_batches(10_000))


@pytest.mark.long
def test_a_text_shorter_than_the_sample_is_accepted(text, tiny_pair, tmp_path):
    data = replace(text, sample_tokens=65_536)
    sizes = {"train": 1_000_000, "validation": 64, "heldout": 64}
    splits = data.make_splits(
        tiny_pair, ["resid_post.1"], None, Harvest(tmp_path, batch_tokens=128), sizes
    )
    assert 320 < len(splits.train) < 65_536
    with pytest.raises(UserError, match="1,000,000 were asked for"):
        replace(data, mode="store").make_splits(
            tiny_pair, ["resid_post.1"], None, Harvest(tmp_path), sizes
        )


def test_several_processes_need_a_repeated_text(text, tiny_pair, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(
        UserError, match=r"data\.repeat=false ends training where the text ends, which 2 processes"
    ):
        replace(text, repeat=False).make_splits(
            tiny_pair, ["resid_post.1"], None, Harvest(tmp_path), {"train": 100}
        )
