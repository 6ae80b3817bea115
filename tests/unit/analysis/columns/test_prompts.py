"""Columns of prompts against loops over pairs, tokens and latents; the functions built on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crosscoder.analysis import reading as reading_module
from crosscoder.analysis.columns.prompts import (
    PromptContrast,
    PromptFile,
    find_chat_specific_features,
    find_sycophancy_features,
    solo_difference,
)
from crosscoder.analysis.permutation import adjust_holm, sign_flip_test
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Kind
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from tests.helpers.small import crosscoder_of

WIDTH = 32
N_LATENTS = 60
NOVICE = [
    "I am new. Is it right?",
    "Sorry, a beginner here: is 1/0 fine?",
    "My first day! x = y?",
    "Hm? user\nmodel",
]
EXPERT = [
    "Expert here. Is it right?",
    "As a senior: is 1/0 fine?",
    "Veteran. x = y?",
    "Well, model user",
]
PAIRS = list(zip(NOVICE, EXPERT, strict=True))
END = "<end_of_turn>Ċ<start_of_turn>modelĊ"  # as the byte tokenizer writes it


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def crosscoder(tiny_pair: Pair) -> Crosscoder:
    made = crosscoder_of(TopK(4), (WIDTH, WIDTH), N_LATENTS)
    mean = tiny_pair.read(NOVICE + EXPERT).acts.mean(0)
    made.set_units(mean, torch.full((2 * WIDTH,), 2.0))
    return made.fold()


def naive_means(
    crosscoder: Crosscoder, pair: Pair, pairs: list, n_last: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean code of the last tokens of the first and second prompts, [n, n_latents].

    As many tokens are read as the pair's shorter prompt has without BOS, at most `n_last`. Prompts
    are read one by one.
    """
    means: list = []
    for prompts in pairs:
        acts = [pair.read(prompt, opening=True).acts for prompt in prompts]
        n_read = n_last or min(len(x) - 1 for x in acts)
        for x in acts:
            means.append(crosscoder.encode(x[-n_read:]).to_dense().detach().double().mean(0))
    return torch.stack(means[::2]), torch.stack(means[1::2])


@pytest.mark.long
@pytest.mark.parametrize("at_a_time", [3, 2048])
@pytest.mark.parametrize(("positions", "n_last"), [("opening", 9), ("prompt", None)])
def test_the_column_is_the_mean_difference_of_the_pairs(
    crosscoder, tiny_pair, monkeypatch, at_a_time, positions, n_last
):
    monkeypatch.setattr(reading_module, "TOKENS_PER_CHUNK", at_a_time)
    prompts = [(chat(a), chat(b)) for a, b in PAIRS]
    columns = PromptContrast(prompts, "who", positions=positions, permutations=500, seed=2)(
        crosscoder, tiny_pair
    )
    a, b = naive_means(crosscoder, tiny_pair, prompts, n_last)
    assert columns["who"].tolist() == pytest.approx((a - b).mean(0).tolist(), abs=1e-6)
    tested = ((a > 0) | (b > 0)).any(0)
    assert 0 < tested.sum() < N_LATENTS
    p = sign_flip_test((a - b)[:, tested], 500, seed=2)
    assert columns["who/p"][tested.numpy()].tolist() == pytest.approx(p.tolist())
    assert columns["who/holm"][tested.numpy()].tolist() == pytest.approx(adjust_holm(p).tolist())
    for name in ("who/p", "who/holm"):
        assert (columns[name][~tested.numpy()] == 1).all()
    assert (columns["who"][~tested.numpy()] == 0).all()


def test_the_opening_is_the_same_tokens_in_all_prompts(tiny_pair):
    reading = tiny_pair.read([chat(prompt) for prompt in NOVICE + EXPERT], opening=True)
    rows = reading_module.select_rows(reading.tokens, "opening", len(NOVICE))
    for i in range(2 * len(NOVICE)):
        own = rows[reading.tokens.document[rows] == i].tolist()
        assert "".join(reading.strings[row] for row in own) == END
        assert own[-1] == int((reading.tokens.document == i).nonzero().max())
    everything = reading_module.select_rows(reading.tokens, "prompt", len(NOVICE))
    assert len(everything) == len(reading.tokens) - 2 * len(NOVICE)  # but BOS


def test_a_text_is_still_read_as_a_user_s_message_with_a_warning(crosscoder, tiny_pair, caplog):
    texts = PromptContrast(PAIRS, permutations=50)(crosscoder, tiny_pair)
    assert "will be refused in version 0.3" in caplog.text
    caplog.clear()
    chats = PromptContrast([{"a": chat(a), "b": chat(b)} for a, b in PAIRS], permutations=50)(
        crosscoder, tiny_pair
    )
    assert not caplog.records
    assert list(texts) == ["prompts", "prompts/p", "prompts/holm"]
    for name, column in texts.items():
        assert np.array_equal(column, chats[name])
        assert column.shape == (N_LATENTS,)


def test_plain_text_can_be_compared_over_whole_prompts(crosscoder, tiny_pair):
    columns = PromptContrast(PAIRS, positions="prompt", permutations=50)(crosscoder, tiny_pair)
    a, b = naive_means(crosscoder, tiny_pair, PAIRS, None)
    expected = (a - b).mean(0)
    assert columns["prompts"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_swapped_prompts_change_the_sign(crosscoder, tiny_pair):
    one = PromptContrast(PAIRS, permutations=50)(crosscoder, tiny_pair)
    other = PromptContrast([(b, a) for a, b in PAIRS], permutations=50)(crosscoder, tiny_pair)
    assert np.allclose(one["prompts"], -other["prompts"])
    assert np.array_equal(one["prompts/p"], other["prompts/p"])


def test_pairs_of_the_most_equal_length_are_used(crosscoder, tiny_pair):
    # in tokens of the tiny pair, which are bytes, the prompts differ by 3, 9, 2 and 3
    few = PromptContrast(PAIRS, n_pairs=3, permutations=50)(crosscoder, tiny_pair)
    same = PromptContrast([PAIRS[0], *PAIRS[2:]], n_pairs=None, permutations=50)(
        crosscoder, tiny_pair
    )
    assert np.array_equal(few["prompts"], same["prompts"])


def test_the_same_prompt_twice_has_no_difference(crosscoder, tiny_pair):
    columns = PromptContrast([(a, a) for a in NOVICE], permutations=50)(crosscoder, tiny_pair)
    assert np.allclose(columns["prompts"], 0, atol=1e-6)
    assert (columns["prompts/holm"] == 1).all()


@pytest.mark.parametrize("positions", ["opening", "prompt"])
def test_as_many_tokens_are_read_of_both_prompts_of_a_pair(crosscoder, tiny_pair, positions):
    prompts = [(chat(a), chat(b)) for a, b in PAIRS]
    read = PromptContrast(prompts, positions=positions).read(crosscoder, tiny_pair)
    documents = read.reading.tokens.document[read.rows].tolist()
    counts = [documents.count(prompt) for prompt in range(2 * len(PAIRS))]
    assert counts[: len(PAIRS)] == counts[len(PAIRS) :]
    assert read.spans.read == (np.mean(counts[: len(PAIRS)]), np.mean(counts[len(PAIRS) :]))
    lengths = [[len(tiny_pair.read(p, opening=True).tokens) for p in pair] for pair in prompts]
    assert read.spans.used == tuple(np.mean(lengths, axis=0))
    assert read.spans.largest_difference == max(abs(a - b) for a, b in lengths) > 0


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "'prompts' has no pairs of prompts"),
        ([("a", "b"), ("a", "b", "c")], r"pair 2 of the prompts is neither \(a, b\) nor"),
        ([{"a": "x"}], "pair 1 of the prompts is neither"),
        ([("", "b")], "all of its 1 messages are empty"),
    ],
)
def test_invalid_pairs_are_refused(crosscoder, tiny_pair, pairs, message):
    with pytest.raises(UserError, match=message):
        PromptContrast(pairs)(crosscoder, tiny_pair)


def test_invalid_settings_are_refused(unchecked):
    with pytest.raises(UserError, match="positions is opening or prompt, not 'last'"):
        PromptContrast(PAIRS, positions="last")
    with pytest.raises(UserError, match="n_pairs is a whole number from 1"):
        PromptContrast(PAIRS, n_pairs=0)


def test_a_prompt_file_yields_its_two_columns(tmp_path: Path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"novice": "a", "expert": "b", "id": "1"}, {"novice": chat("c"), "expert": chat("d")}]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert list(PromptFile(file, "novice", "expert")) == [("a", "b"), (chat("c"), chat("d"))]
    assert next(iter(PromptFile(str(file), "expert", "novice"))) == ("b", "a")
    as_chats = PromptFile(file, "novice", "expert", chat=True)
    assert list(as_chats) == [(chat("a"), chat("b")), (chat("c"), chat("d"))]
    with pytest.raises(
        UserError, match=r"prompts.jsonl, line 2 has no column 'id'; it has novice, expert"
    ):
        list(PromptFile(file, "novice", "id"))
    file.write_text('{"novice": "a", "expert": "b"}\n{"novice"')
    with pytest.raises(UserError, match=r"prompts.jsonl, line 2: not JSON"):
        list(PromptFile(file, "novice", "expert"))
    with pytest.raises(UserError, match="no file at"):
        list(PromptFile(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("5", "line 1: expected an object with columns, found 5"),
        ('["novice", "expert"]', "line 1: expected an object with columns, found"),
        ('{"novice": 5, "expert": "b"}', "line 1: expected text or a list of messages, found 5"),
        (
            '{"novice": [{"role": "user"}], "expert": "b"}',
            "line 1: expected text in 'content' of message 1",
        ),
    ],
)
def test_a_line_of_a_prompt_file_without_a_pair_is_named(line, reason, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=reason):
        list(PromptFile(tmp_path / "prompts.jsonl", "novice", "expert"))


def test_find_sycophancy_features_returns_the_largest_differences(crosscoder, tiny_pair):
    table = find_sycophancy_features(crosscoder, tiny_pair, NOVICE, EXPERT, top=7)
    columns = PromptContrast(PAIRS, "d")(crosscoder, tiny_pair)
    expected = sorted(range(N_LATENTS), key=lambda j: -abs(columns["d"][j]))[:7]
    assert table.columns == ["latent", "difference", "p", "holm"]
    assert table["latent"].tolist() == expected
    for name, column in (("difference", "d"), ("p", "d/p"), ("holm", "d/holm")):
        assert table[name].tolist() == columns[column][expected].tolist()
    assert min(table["difference"]) < 0 < max(table["difference"])
    with pytest.raises(UserError, match="4 of the first kind and 3 of the second"):
        find_sycophancy_features(crosscoder, tiny_pair, NOVICE, EXPERT[:3])


def test_solo_difference_is_the_mean_of_the_codes_of_each_model_alone(
    crosscoder, tiny_pair, monkeypatch
):
    monkeypatch.setattr(reading_module, "TOKENS_PER_CHUNK", 5)
    reading = tiny_pair.read(NOVICE)
    alone = []
    for name in ("chat", "base"):
        both = torch.cat([reading[name], reading[name]], dim=1)[reading.tokens.kind != Kind.SPECIAL]
        alone.append(crosscoder.encode(both).to_dense().detach())
    expected = (alone[0] - alone[1]).double().mean(0)
    difference = solo_difference(crosscoder, reading)
    assert difference.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    threshold = float(expected.sort(descending=True).values[4:6].mean())
    table = find_chat_specific_features(crosscoder, reading, threshold)
    assert table["latent"].tolist() == expected.argsort(descending=True)[:5].tolist()
    assert (table["difference"] > threshold).all()


def test_solo_difference_is_zero_where_the_models_agree(crosscoder, tiny_pair):
    reading = tiny_pair.read(NOVICE)
    reading.acts[:, :WIDTH] = reading["chat"]
    assert not solo_difference(crosscoder, reading).any()


def test_without_a_compared_pair_there_is_no_difference(tiny_pair):
    sources = Sources(tiny_pair.sources().items)
    crosscoder = Crosscoder(sources, N_LATENTS, TopK(3)).fold()
    with pytest.raises(UserError, match="needs a compared pair of sources"):
        solo_difference(crosscoder, tiny_pair.read("Hello"))


def test_outliers_of_a_prompt_are_left_out_if_training_left_them_out(crosscoder, tiny_pair):
    reading = tiny_pair.read([chat(prompt) for prompt in NOVICE], opening=True)
    is_content = reading.tokens.is_content
    assert torch.equal(reading_module.mask_known_tokens(crosscoder, reading), is_content)
    norms = reading["chat"].norm(dim=1)
    limit = float(norms[is_content].quantile(0.9))
    crosscoder.provenance["outliers"] = {"above": 12.5, "norms": {"chat": limit, "elsewhere": 0.0}}
    expected = is_content & (norms <= limit)
    assert torch.equal(reading_module.mask_known_tokens(crosscoder, reading), expected)
    prompts = [(chat(a), chat(b)) for a, b in PAIRS]
    read = PromptContrast(prompts, "who", positions="prompt").read(crosscoder, tiny_pair)
    assert read.reading["chat"].norm(dim=1)[read.rows].max() <= limit
    crosscoder.provenance["outliers"]["norms"]["chat"] = 1e-9
    with pytest.raises(
        UserError, match="prompt 1 of 'who' has no tokens but special ones and outliers"
    ):
        PromptContrast(prompts, "who", positions="prompt").read(crosscoder, tiny_pair)


@pytest.mark.parametrize("said", [None, 5, [], {"norms": 3}, {"norms": {"chat": "large"}}])
def test_invalid_outlier_limits_of_a_crosscoder_are_ignored(crosscoder, tiny_pair, said):
    crosscoder.provenance["outliers"] = said
    reading = tiny_pair.read(NOVICE)
    assert torch.equal(
        reading_module.mask_known_tokens(crosscoder, reading), reading.tokens.is_content
    )
