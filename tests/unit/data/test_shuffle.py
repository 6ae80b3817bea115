"""Each eligible token exactly once per epoch, in another order every time."""

from itertools import islice

import pytest
import torch

from crosscoder.core.types import Kind
from crosscoder.data import Mixing, Store
from crosscoder.errors import UserError
from tests.helpers.small import sources_of, store_of

COUNTS = [40, 40, 40, 40, 13]
N = sum(COUNTS)
SOURCES = sources_of(1, 2)


@pytest.fixture
def kind() -> torch.Tensor:
    """Return all four kinds in turn; the whole third shard is special."""
    kind = torch.arange(N) % 4
    kind[80:120] = Kind.SPECIAL
    return kind


@pytest.fixture
def store(tmp_path, kind) -> Store:
    """Write activations that encode their row: base has its number, chat twice the negative."""
    row = torch.arange(N, dtype=torch.float32)[:, None]
    return store_of(tmp_path / "store", {"base": row, "chat": -row.expand(N, 2)}, COUNTS, kind)


def take_epoch(mixing: Mixing, batch_size: int, seed: int = 0) -> list[torch.Tensor]:
    return list(islice(mixing.iter_batches(batch_size, seed), len(mixing) // batch_size))


def read_rows(batches: list[torch.Tensor]) -> list[int]:
    """Return the numbers of the rows, and check that each row is complete."""
    acts = torch.cat(batches)
    assert torch.equal(acts[:, 1], -acts[:, 0])
    assert torch.equal(acts[:, 2], -acts[:, 0])
    return acts[:, 0].int().tolist()


@pytest.mark.parametrize("buffer", [1, 50, 90, 10_000])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 91])
def test_each_eligible_token_occurs_once_per_epoch(store, kind, buffer, batch_size):
    mixing = Mixing(store, SOURCES, ["special"], buffer)
    eligible = {row for row in range(N) if kind[row] != Kind.SPECIAL}
    assert len(mixing) == len(eligible)
    for seed in range(5):
        batches = take_epoch(mixing, batch_size, seed)
        rows = read_rows(batches)
        assert {len(batch) for batch in batches} == {batch_size}
        assert len(rows) == len(set(rows)) == len(eligible) - len(eligible) % batch_size
        assert set(rows) <= eligible


@pytest.mark.parametrize("buffer", [50, 10_000])
def test_every_epoch_has_its_own_order_and_a_seed_repeats_it(store, buffer):
    mixing = Mixing(store, SOURCES, buffer_tokens=buffer)
    first, again, other = (read_rows(take_epoch(mixing, 10, seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert first != sorted(first)


def test_shuffling_reaches_across_the_shards_of_a_buffer(store):
    first_batch = read_rows(take_epoch(Mixing(store, SOURCES, []), 40)[:1])
    assert len({row // 40 for row in first_batch}) == len(COUNTS)


@pytest.mark.parametrize("of", [1, 2])
def test_memory_is_bounded_by_the_buffer_and_divided_among_processes(store, monkeypatch, of):
    held: list[int] = []
    gather = Mixing._gather

    def counted(mixing: Mixing, rows: torch.Tensor) -> torch.Tensor:
        held.append(len(rows))
        return gather(mixing, rows)

    monkeypatch.setattr(Mixing, "_gather", counted)
    mixing = Mixing(store, SOURCES, [], buffer_tokens=90)
    read_rows(list(islice(mixing.iter_batches(10, process=(0, of)), N // 10)))
    assert max(held) * of <= 90
    assert sum(held) * of == N - N % 10


def test_a_store_smaller_than_the_buffer_is_read_once(store, monkeypatch):
    mixing, reads, acts = Mixing(store, SOURCES), [], Store.acts
    monkeypatch.setattr(Store, "acts", lambda *args: reads.append(args[1]) or acts(*args))
    for seed in range(3):
        take_epoch(mixing, 10, seed)
    assert reads == [0, 1, 3, 4]  # nothing of the third is eligible


@pytest.mark.parametrize("buffer", [50, 90, 10_000])
@pytest.mark.parametrize("first", [0, 1, 5, 18, 19, 20, 57])
def test_training_can_resume_at_any_batch(store, buffer, first):
    mixing = Mixing(store, SOURCES, buffer_tokens=buffer)
    whole = list(islice(mixing.iter_batches(7, seed=3), first + 30))
    later = list(islice(mixing.iter_batches(7, seed=3, first=first), 30))
    assert all(torch.equal(a, b) for a, b in zip(whole[first:], later, strict=True))


@pytest.mark.parametrize("buffer", [50, 10_000])
def test_every_process_gets_its_part_of_every_batch(store, buffer):
    mixing = Mixing(store, SOURCES, buffer_tokens=buffer)
    parts = [list(islice(mixing.iter_batches(12, process=(which, 3)), 30)) for which in range(3)]
    for whole, *shares in zip(mixing.iter_batches(12), *parts, strict=False):
        assert torch.equal(whole, torch.cat(shares))


@pytest.mark.parametrize("buffer", [50, 10_000])
def test_rows_left_over_by_an_epoch_open_the_next_one(store, kind, buffer):
    mixing = Mixing(store, SOURCES, buffer_tokens=buffer)
    n = len(mixing)
    rows = read_rows(list(islice(mixing.iter_batches(7), 3 * n // 7)))
    eligible = [row for row in range(N) if kind[row] != Kind.SPECIAL]
    assert sorted(rows[:n]) == sorted(rows[n : 2 * n]) == eligible
    assert rows[:n] != rows[n : 2 * n]


@pytest.mark.parametrize(
    ("exclude", "kinds"),
    [([], {0, 1, 2, 3}), (["special"], {0, 1, 2}), (["chat", "template"], {0, 3})],
)
def test_kinds_are_excluded_by_name(store, kind, exclude, kinds):
    mixing = Mixing(store, SOURCES, exclude)
    assert {int(kind[row]) for row in read_rows(take_epoch(mixing, 1))} == kinds


def test_unknown_kinds_are_named(store):
    with pytest.raises(
        UserError, match="kinds of tokens are plain, chat, template, special, outlier, not bos"
    ):
        Mixing(store, SOURCES, ["bos"])


@pytest.mark.parametrize("exclude", [["plain", "chat", "template", "special"], ["special"]])
def test_a_store_without_eligible_tokens_is_refused(tmp_path, exclude):
    store = store_of(
        tmp_path / "s", {"base": torch.ones(9, 1)}, [9], torch.full((9,), Kind.SPECIAL)
    )
    with pytest.raises(
        UserError, match=r"nothing is left of store .*: its 9 tokens are all left out by exclude=\["
    ):
        Mixing(store, sources_of(1), exclude)


def test_batches_in_order_hold_every_token_in_the_order_of_the_store(store, kind):
    batches = list(Mixing(store, SOURCES).iter_in_order(16))
    assert read_rows(batches) == [row for row in range(N) if kind[row] != Kind.SPECIAL]


def test_sources_are_in_the_order_asked_for(store):
    batch = next(Mixing(store, SOURCES.subset(["chat", "base"]), []).iter_in_order(3))
    assert batch.tolist() == [[0, 0, 0], [-1, -1, 1], [-2, -2, 2]]


def test_sources_the_store_does_not_hold_are_refused(store):
    with pytest.raises(UserError, match=r"store has sources \[base, chat\] of width 1, 2"):
        Mixing(store, sources_of(2, 1))
