"""Examples of latents against loops over a dense code, on stores of known documents and pieces."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from crosscoder.analysis import topn
from crosscoder.analysis.base import encode_store
from crosscoder.analysis.contexts import GROUPS, QUANTILES, Contexts
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Kind, Tokens
from crosscoder.data import Store
from tests.helpers.small import crosscoder_of, store_of

COUNTS = [150, 90, 160]
WIDTH = 6
N_LATENTS = 40
K = 5
N = sum(COUNTS)
NEVER, ONCE = 0, 1  # latents that fire on no token, on one
WINDOW = (6, 3)


def tokens() -> Tokens:
    """Return tokens of pieces of 1 to 20 tokens, BOS first.

    Three pieces make a document, plain or a chat. A shard's end cuts a piece.
    """
    generator = torch.Generator().manual_seed(1)
    lengths = []
    rows = []
    while sum(lengths) < N:
        lengths.append(int(torch.randint(1, 21, (), generator=generator)))
    for piece, length in enumerate(lengths):
        document = piece // 3
        kinds = [Kind.PLAIN] * 3 if document % 2 else [Kind.CHAT, Kind.TEMPLATE, Kind.CHAT]
        rows += [(i, document, Kind.SPECIAL if i == 0 else kinds[i % 3]) for i in range(length)]
    position, document, kind = torch.tensor(rows[:N]).T.contiguous()
    assert all(position[cut] > 0 for cut in np.cumsum(COUNTS[:-1]))
    return Tokens(torch.arange(N) % 50, position, document, kind)


TOKENS = tokens()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    torch.manual_seed(0)
    streams = {"base": torch.randn(N, WIDTH) * 3 + 1, "chat": torch.randn(N, WIDTH)}
    made = store_of(tmp_path / "store", streams, COUNTS)
    for shard, rows in enumerate(torch.arange(N).split(COUNTS)):
        made.write(shard, "tokens", TOKENS[rows].tensors())
    return made


@pytest.fixture
def crosscoder(store: Store) -> Crosscoder:
    made = crosscoder_of(TopK(K), (WIDTH, WIDTH), N_LATENTS)
    made.b_enc.data[:2] = -100.0
    made.W_enc.data[ONCE] = 0
    folded = made.fold()
    acts = torch.cat([store.acts(i, ["base", "chat"]) for i in store])
    row = int((TOKENS.kind == Kind.PLAIN).nonzero()[7])
    with (
        torch.no_grad()
    ):  # an encoder that points at one token, behind a threshold only that token reaches
        direction = torch.linalg.lstsq(acts - acts.mean(0), torch.eye(N)[row][:, None]).solution[
            :, 0
        ]
        scores = (acts - acts.mean(0)) @ direction
        best = int(torch.where(TOKENS.kind == Kind.SPECIAL, -torch.inf, scores).argmax())
        second = float(scores[(torch.arange(N) != best) & (TOKENS.kind != Kind.SPECIAL)].max())
        folded.W_enc[ONCE] = direction * 1e4
        folded.b_enc[ONCE] = -1e4 * (direction @ acts.mean(0) + (second + float(scores[best])) / 2)
    return folded


def dense_code(crosscoder: Crosscoder, store: Store) -> torch.Tensor:
    """Return f of all rows [N, n_latents], 0 on special tokens."""
    acts = torch.cat([store.acts(i, ["base", "chat"]) for i in store])
    f = crosscoder.encode(acts).to_dense().detach()
    f[TOKENS.kind == Kind.SPECIAL] = 0
    return f


def seen(crosscoder: Crosscoder, store: Store, batch_size: int = 64, **options) -> Contexts:
    contexts = Contexts(crosscoder.n_latents, **{"n": 4, "window": WINDOW, **options})
    for batch in encode_store(crosscoder, store, batch_size):
        contexts.update(batch)
    return contexts


def frame_of(crosscoder: Crosscoder, store: Store, batch_size: int = 64, **options) -> pd.DataFrame:
    return seen(crosscoder, store, batch_size, **options).frame(
        crosscoder, store, None, batch_size=batch_size
    )


def naive_top(f: torch.Tensor, latent: int, kinds: tuple[int, ...], n: int) -> list[int]:
    """Return the rows of the largest activations, one per document."""
    rows = [r for r in range(N) if f[r, latent] > 0 and int(TOKENS.kind[r]) in kinds]
    taken: dict[int, int] = {}
    for row in sorted(rows, key=lambda r: (-float(f[r, latent]), r)):
        taken.setdefault(int(TOKENS.document[row]), row)
    return list(taken.values())[:n]


def naive_window(row: int) -> tuple[int, int]:
    """Return the first row and the end of a window, walked step by step."""
    shard_of = np.repeat(np.arange(len(COUNTS)), COUNTS)
    start = end = row
    while (
        start > 0
        and row - start < WINDOW[0]
        and TOKENS.position[start] > 0
        and shard_of[start - 1] == shard_of[row]
    ):
        start -= 1
    while (
        end + 1 < N
        and end - row < WINDOW[1]
        and TOKENS.position[end + 1] > 0
        and shard_of[end + 1] == shard_of[row]
    ):
        end += 1
    return start, end + 1


def rows_of(frame: pd.DataFrame) -> list[int]:
    """Return the store rows of the peaks.

    A document's pieces repeat positions, so tokens tell them apart.
    """
    found = []
    for document, position, peak, ids in zip(
        frame.document, frame.position, frame.peak, frame.tokens, strict=True
    ):
        rows = (
            ((TOKENS.document == document) & (TOKENS.position == position)).nonzero()[:, 0].tolist()
        )
        found.append(next(row for row in rows if str(int(TOKENS.ids[row])) == ids[peak]))
    return found


@pytest.mark.parametrize(
    ("group", "kinds"), [("top plain", (Kind.PLAIN,)), ("top chat", (Kind.CHAT, Kind.TEMPLATE))]
)
def test_top_examples_are_the_largest_one_per_document(crosscoder, store, group, kinds):
    f = dense_code(crosscoder, store)
    frame = frame_of(crosscoder, store)
    for latent in range(N_LATENTS):
        part = frame[(frame.latent == latent) & (frame.group == group)]
        assert rows_of(part) == naive_top(f, latent, kinds, n=4)
    assert (frame[frame.group == group].groupby("latent").size() == 4).sum() > 20


def test_windows_show_the_piece_around_the_peak_and_the_latent_on_it(crosscoder, store):
    f = dense_code(crosscoder, store)
    frame = frame_of(crosscoder, store)
    cut = 0
    for row, example in zip(rows_of(frame), frame.itertuples(), strict=True):
        start, end = naive_window(row)
        assert example.peak == row - start
        assert example.tokens == [str(int(i)) for i in TOKENS.ids[start:end]]
        assert example.activations == [
            float(f"{v:.3g}") for v in f[start:end, example.latent].tolist()
        ]
        assert example.kind == ("plain" if TOKENS.kind[row] == Kind.PLAIN else "chat")
        cut += end - start < sum(WINDOW) + 1
    assert 0 < cut < len(frame)


def test_windows_stop_at_a_shard_s_end_and_show_bos_as_inactive(crosscoder, store):
    frame = frame_of(crosscoder, store, n=1000)
    rows = np.array(rows_of(frame))
    before, after = np.array([naive_window(row) for row in rows]).T
    cuts = np.cumsum(COUNTS[:-1])
    assert any(((after == cut) & (rows + WINDOW[1] >= cut)).any() for cut in cuts)
    assert any(((before == cut) & (rows - WINDOW[0] < cut)).any() for cut in cuts)
    bos = [
        a[0]
        for a, start in zip(frame.activations, before, strict=True)
        if TOKENS.position[start] == 0
    ]
    assert len(bos) > 20
    assert not any(bos)


def test_quantiles_are_of_all_firings_if_the_sample_contains_all(crosscoder, tmp_path):
    streams = {name: torch.randn(N, WIDTH) for name in ("base", "chat")}
    store = store_of(tmp_path / "rows", streams, COUNTS)  # every row is a document of its own
    frame = frame_of(crosscoder, store, n_sampled=N)
    f = crosscoder.encode(torch.cat(list(streams.values()), dim=1)).to_dense().detach()
    for latent in range(N_LATENTS):
        rows = sorted(f[:, latent].nonzero()[:, 0].tolist(), key=lambda row: float(f[row, latent]))
        expected = list(
            dict.fromkeys(
                rows[round(q * (len(rows) - 1))] for q in (0.9, 0.7, 0.5, 0.3, 0.1) if rows
            )
        )
        part = frame[(frame.latent == latent) & frame.group.str.startswith("quantile")]
        assert part.document.tolist() == expected
        assert part.group.tolist() == list(GROUPS[2:])[: len(expected)] or len(expected) < len(
            QUANTILES
        )
    assert (frame.group == "quantile 0.1").sum() > 20


def test_quantiles_of_a_small_sample_are_those_of_its_firings(crosscoder, store):
    contexts = seen(crosscoder, store, n_sampled=5)
    sample, (examples, group) = contexts.sample.merge(), contexts.examples()
    f = dense_code(crosscoder, store)
    for latent in range(N_LATENTS):
        kept = sample[sample["latent"] == latent]
        documents = {int(TOKENS.document[row]) for row in f[:, latent].nonzero()[:, 0]}
        assert len(kept) == len(set(kept["document"])) == min(5, len(documents))
        if len(kept) == 5:
            ours = examples["value"][(examples["latent"] == latent) & (group >= 2)]
            # places 4 * q of the five entries, rounded: 4, 3, 2, 1, 0
            assert ours.tolist() == sorted(kept["value"].tolist(), reverse=True)


def test_the_sample_is_uniform_over_firings(crosscoder, store):
    """If every firing has its own document, each is drawn equally often over seeds."""
    drawn = np.zeros(60)
    for seed in range(400):
        sample = topn.TopN(6, 1)
        random = np.random.default_rng(seed)
        none = np.zeros(60, int)
        for part in np.array_split(np.arange(60), 7):
            sample.update(
                random.random(len(part)), latent=none[part], document=part, row=part, value=part
            )
        drawn[sample.merge()["row"]] += 1
    assert drawn.sum() == 400 * 6
    assert drawn.min() > 15
    assert drawn.max() < 70


def test_a_latent_that_never_fires_has_no_example_and_one_that_fires_once_no_copies(
    crosscoder, store
):
    f = dense_code(crosscoder, store)
    frame = frame_of(crosscoder, store)
    assert int((f[:, NEVER] > 0).sum()) == 0
    assert int((f[:, ONCE] > 0).sum()) == 1
    assert NEVER not in set(frame.latent)
    once = frame[frame.latent == ONCE]
    assert sorted(once.group) in (["quantile 0.9", "top chat"], ["quantile 0.9", "top plain"])


@pytest.mark.long
def test_examples_do_not_depend_on_the_batches(crosscoder, store, monkeypatch):
    one = frame_of(crosscoder, store, batch_size=1000)
    monkeypatch.setattr(topn, "MERGE_AT", 16)  # merged at every batch
    for batch_size in (9, 64):
        other = frame_of(crosscoder, store, batch_size)
        columns = [name for name in one.columns if name != "activations"]
        pd.testing.assert_frame_equal(one[columns], other[columns])
        for a, b in zip(one.activations, other.activations, strict=True):
            assert a == pytest.approx(b, rel=0.011, abs=1e-4)


def test_memory_is_bounded_by_what_is_kept(crosscoder, store, monkeypatch):
    monkeypatch.setattr(topn, "MERGE_AT", 16)
    contexts = seen(crosscoder, store, batch_size=20)
    for part in (*contexts.top, contexts.sample):
        assert len(part.kept) <= N_LATENTS * part.n
        assert sum(map(len, part.new)) <= max(16, len(part.kept)) + 20 * K


def test_the_frame_is_sorted_and_has_exactly_these_columns(crosscoder, store):
    frame = frame_of(crosscoder, store)
    names = ["latent", "group", "kind", "document", "position", "peak", "tokens", "activations"]
    assert list(frame.columns) == names
    group = frame.group.map(GROUPS.index)
    peaks = pd.Series([-a[p] for a, p in zip(frame.activations, frame.peak, strict=True)])
    keys = list(zip(frame.latent, group, peaks, strict=True))
    assert keys == sorted(keys)
    assert all(a[p] > 0 for a, p in zip(frame.activations, frame.peak, strict=True))


def test_strings_come_from_the_tokenizer_and_latents_can_be_chosen(crosscoder, store):
    contexts = seen(crosscoder, store)
    some = contexts.frame(crosscoder, store, lambda ids: [f"<{i}>" for i in ids], latents=[5, 9])
    whole = contexts.frame(crosscoder, store, None)
    assert set(some.latent) == {5, 9}
    expected = whole[whole.latent.isin([5, 9])].tokens
    assert some.tokens.tolist() == [[f"<{token}>" for token in tokens] for tokens in expected]


def test_without_any_example_the_frame_is_empty(crosscoder, store):
    frame = Contexts(N_LATENTS).frame(crosscoder, store, None)
    assert len(frame) == 0
    assert "activations" in frame
    assert Contexts(N_LATENTS).columns() == {}
