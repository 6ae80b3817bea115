import random

import torch

from crosscoder.analysis.spans import (
    SpanReport,
    choose_equal_lengths,
    list_spans,
    take_common_tail,
)


def test_the_pairs_that_differ_least_in_length_are_chosen():
    draw = random.Random(0)
    lengths = [(draw.randint(5, 40), draw.randint(5, 60)) for _ in range(200)]
    chosen = choose_equal_lengths(lengths, 24)
    assert len(set(chosen)) == 24
    differences = sorted(abs(a - b) for a, b in lengths)
    worst = max(abs(lengths[place][0] - lengths[place][1]) for place in chosen)
    assert worst <= differences[23]
    everything = sum(abs(a - b) for a, b in lengths) / len(lengths)
    assert worst < everything


def test_pairs_of_equal_length_are_evenly_spaced():
    assert choose_equal_lengths([(7, 7)] * 12, 4) == [0, 3, 6, 9]
    assert choose_equal_lengths([(7, 9), (1, 1)], 5) == [0, 1]


def test_the_common_tail_is_that_of_a_loop_over_pairs():
    draw = random.Random(1)
    n_pairs = 9
    documents = []
    for prompt in range(2 * n_pairs):
        documents += [prompt] * draw.randint(1, 8)
    rows = sorted(draw.sample(range(500), len(documents)))
    kept = take_common_tail(torch.tensor(documents), torch.tensor(rows), n_pairs).tolist()
    expected = []
    for prompt in range(2 * n_pairs):
        partner = (prompt + n_pairs) % (2 * n_pairs)
        own = [row for row, document in zip(rows, documents, strict=True) if document == prompt]
        n_read = min(len(own), documents.count(partner))
        expected += own[len(own) - n_read :]
    assert kept == expected


def test_a_report_has_a_row_for_each_kind_of_prompts():
    spans = SpanReport("opening", 2, 9, (50.5, 48.0), (41.0, 41.5), 1, (5.0, 5.0))
    rows = list_spans({"who": spans.describe()}, ("novice", "expert"))
    assert [row["prompts"] for row in rows] == ["novice", "expert"]
    assert [row["tokens, all pairs"] for row in rows] == [50.5, 48.0]
    assert [row["tokens, these pairs"] for row in rows] == [41.0, 41.5]
    assert [row["tokens read"] for row in rows] == [5.0, 5.0]
    assert rows[0]["pairs"] == "2 of 9"
