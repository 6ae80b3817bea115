"""Contrasts between prompts against a loop over pairs, tokens and latents; the guide's functions by their names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crosscoder.activations.topk import TopK
from crosscoder.diff import reading as reading_module
from crosscoder.diff.permutation import holm, sign_flip
from crosscoder.diff.prompts import (
    PromptContrast,
    PromptFile,
    find_chat_specific_features,
    find_sycophancy_features,
    solo_difference,
)
from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.model import Crosscoder
from crosscoder.organisms.expertise.framed import Framed
from crosscoder.sources import Sources
from crosscoder.types import Kind
from tests.small import crosscoder_of

WIDTH, N_LATENTS = 32, 60
NOVICE = ["I am new. Is it right?", "Sorry, a beginner here: is 1/0 fine?", "My first day! x = y?", "Hm? user\nmodel"]
EXPERT = ["Expert here. Is it right?", "As a senior: is 1/0 fine?", "Veteran. x = y?", "Well, model user"]
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


def naive_means(crosscoder: Crosscoder, pair: Pair, prompts: list[str], n_last: int | None) -> torch.Tensor:
    """Mean code of the last tokens of each prompt, or of all but BOS, read one by one, [prompts, n_latents]."""
    means = []
    for prompt in prompts:
        acts = pair.read(chat(prompt), opening=True).acts
        acts = acts[1:] if n_last is None else acts[-n_last:]
        means.append(crosscoder.encode(acts).to_dense().detach().double().mean(0))
    return torch.stack(means)


@pytest.mark.parametrize("at_a_time", [3, 2048])
@pytest.mark.parametrize(("positions", "n_last"), [("opening", 9), ("prompt", None)])
def test_contrast_is_the_mean_of_the_pairs_differences(
    crosscoder, tiny_pair, monkeypatch, at_a_time, positions, n_last
):
    monkeypatch.setattr(reading_module, "AT_A_TIME", at_a_time)
    prompts = [(chat(a), chat(b)) for a, b in PAIRS]
    columns = PromptContrast(prompts, "who", positions=positions, permutations=500, seed=2)(crosscoder, tiny_pair)
    a, b = (naive_means(crosscoder, tiny_pair, side, n_last) for side in (NOVICE, EXPERT))
    assert columns["who"].tolist() == pytest.approx((a - b).mean(0).tolist(), abs=1e-6)
    tested = ((a > 0) | (b > 0)).any(0)
    assert 0 < tested.sum() < N_LATENTS
    p = sign_flip((a - b)[:, tested], 500, seed=2)
    assert columns["who/p"][tested.numpy()].tolist() == pytest.approx(p.tolist())
    assert columns["who/holm"][tested.numpy()].tolist() == pytest.approx(holm(p).tolist())
    for name in ("who/p", "who/holm"):
        assert (columns[name][~tested.numpy()] == 1).all()
    assert (columns["who"][~tested.numpy()] == 0).all()


def test_the_opening_is_the_same_tokens_in_all_prompts(tiny_pair):
    reading = tiny_pair.read([chat(prompt) for prompt in NOVICE + EXPERT], opening=True)
    rows = reading_module.rows_of(reading.tokens, "opening", len(NOVICE))
    for i in range(2 * len(NOVICE)):
        own = rows[reading.tokens.document[rows] == i].tolist()
        assert "".join(reading.strings[row] for row in own) == END
        assert own[-1] == int((reading.tokens.document == i).nonzero().max())
    everything = reading_module.rows_of(reading.tokens, "prompt", len(NOVICE))
    assert len(everything) == len(reading.tokens) - 2 * len(NOVICE)  # but BOS


def test_a_string_is_what_a_user_says(crosscoder, tiny_pair):
    texts = PromptContrast(PAIRS, permutations=50)(crosscoder, tiny_pair)
    chats = PromptContrast([{"a": chat(a), "b": chat(b)} for a, b in PAIRS], permutations=50)(crosscoder, tiny_pair)
    assert list(texts) == ["expertise", "expertise/p", "expertise/holm"]
    for name, column in texts.items():
        assert np.array_equal(column, chats[name])
        assert column.shape == (N_LATENTS,)


def test_plain_text_can_be_contrasted_over_whole_prompts(crosscoder, tiny_pair):
    columns = PromptContrast(PAIRS, positions="prompt", permutations=50)(crosscoder, tiny_pair)
    means = []
    for prompt in NOVICE + EXPERT:
        means.append(crosscoder.encode(tiny_pair.read(prompt).acts[1:]).to_dense().detach().mean(0))
    expected = torch.stack(means[:4]).mean(0) - torch.stack(means[4:]).mean(0)
    assert columns["expertise"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_swapped_prompts_give_the_opposite(crosscoder, tiny_pair):
    one = PromptContrast(PAIRS, permutations=50)(crosscoder, tiny_pair)
    other = PromptContrast([(b, a) for a, b in PAIRS], permutations=50)(crosscoder, tiny_pair)
    assert np.allclose(one["expertise"], -other["expertise"])
    assert np.array_equal(one["expertise/p"], other["expertise/p"])


def test_few_pairs_are_taken_at_even_distances(crosscoder, tiny_pair):
    few = PromptContrast(PAIRS, n_pairs=2, permutations=50)(crosscoder, tiny_pair)
    same = PromptContrast([PAIRS[0], PAIRS[2]], n_pairs=None, permutations=50)(crosscoder, tiny_pair)
    assert np.array_equal(few["expertise"], same["expertise"])


def test_the_same_prompt_twice_tells_nothing(crosscoder, tiny_pair):
    columns = PromptContrast([(a, a) for a in NOVICE], permutations=50)(crosscoder, tiny_pair)
    assert np.allclose(columns["expertise"], 0, atol=1e-6)
    assert (columns["expertise/holm"] == 1).all()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "'expertise' has no pairs of prompts"),
        ([("a", "b"), ("a", "b", "c")], r"pair 2 of the prompts is neither \(a, b\) nor"),
        ([{"a": "x"}], "pair 1 of the prompts is neither"),
        ([("", "b")], "pair 1 of the prompts does not end in the same turn markers"),
    ],
)
def test_wrong_pairs_are_told(crosscoder, tiny_pair, pairs, message):
    with pytest.raises(UserError, match=message):
        PromptContrast(pairs)(crosscoder, tiny_pair)


def test_wrong_settings_are_told(unchecked):
    with pytest.raises(UserError, match="'opening' or 'prompt', not 'last'"):
        PromptContrast(PAIRS, positions="last")
    with pytest.raises(UserError, match="n_pairs is a whole number from 1"):
        PromptContrast(PAIRS, n_pairs=0)


def test_a_prompt_file_gives_its_two_columns(tmp_path: Path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"novice": "a", "expert": "b", "id": 1}, {"novice": chat("c"), "expert": chat("d")}]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert list(PromptFile(file)) == [("a", "b"), (chat("c"), chat("d"))]
    assert next(iter(PromptFile(str(file), "expert", "novice"))) == ("b", "a")
    with pytest.raises(UserError, match=r"prompts.jsonl, line 2 has no column 'id'; it has novice, expert"):
        list(PromptFile(file, "novice", "id"))
    file.write_text('{"novice": "a", "expert": "b"}\n{"novice"')
    with pytest.raises(UserError, match=r"prompts.jsonl, line 2: not JSON"):
        list(PromptFile(file))
    with pytest.raises(UserError, match="no file at"):
        list(PromptFile(tmp_path / "none.jsonl"))


def test_find_sycophancy_features_are_the_largest_differences(crosscoder, tiny_pair):
    table = find_sycophancy_features(crosscoder, tiny_pair, NOVICE, EXPERT, top=7)
    columns = PromptContrast(PAIRS, "d")(crosscoder, tiny_pair)
    expected = sorted(range(N_LATENTS), key=lambda j: -abs(columns["d"][j]))[:7]
    assert table.columns == ["latent", "difference", "p", "holm"]
    assert table["latent"].tolist() == expected
    for name, column in (("difference", "d"), ("p", "d/p"), ("holm", "d/holm")):
        assert table[name].tolist() == columns[column][expected].tolist()
    assert min(table["difference"]) < 0 < max(table["difference"])
    with pytest.raises(UserError, match="4 of novices and 3 of experts"):
        find_sycophancy_features(crosscoder, tiny_pair, NOVICE, EXPERT[:3])


def test_solo_difference_is_the_mean_of_the_codes_of_each_model_alone(crosscoder, tiny_pair, monkeypatch):
    monkeypatch.setattr(reading_module, "AT_A_TIME", 5)
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


def test_without_a_contrast_there_is_no_difference(tiny_pair):
    sources = Sources(tiny_pair.sources().items)
    crosscoder = Crosscoder(sources, N_LATENTS, TopK(3)).fold()
    with pytest.raises(UserError, match="needs a contrast of two sources"):
        solo_difference(crosscoder, tiny_pair.read("Hello"))


def test_the_organism_s_prompts_are_pairs_of_one_message_chats():
    pairs = list(Framed("heldout"))
    assert len(pairs) == len(Framed("heldout")) > 100
    for novice, expert in pairs:
        assert [message["role"] for message in (*novice, *expert)] == ["user", "user"]
        assert novice != expert
    swapped = next(iter(Framed("heldout", "expert", "novice")))
    assert swapped == pairs[0][::-1]
    assert not {a[0]["content"] for a, _ in pairs} & {a[0]["content"] for a, _ in Framed("train")}
