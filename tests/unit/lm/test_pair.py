import pytest
import torch
from tokenizers import AddedToken

from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm import Pair, TinyLM, load_pair
from crosscoder.lm.text import tokenize
from tests.configs import choices

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
PROMPTS = ["The capital of France is", CHAT, "x", "def f(x):\n    return x + 1"]


def forward_alone(pair: Pair, lm: str, prompt) -> torch.Tensor:
    """The hidden state after layer 0, from the model's own output."""
    ids, _ = tokenize(pair.tokenizer, prompt)
    return pair[lm](torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_read_is_a_forward_pass_per_prompt(tiny_pair, batch_size):
    reading = tiny_pair.read(PROMPTS, ["resid_post.0"], batch_size=batch_size)
    for lm in ("base", "chat"):
        expected = torch.cat([forward_alone(tiny_pair, lm, prompt) for prompt in PROMPTS])
        torch.testing.assert_close(reading[lm], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(reading["base"], reading["chat"])


@pytest.mark.parametrize("prompt", [PROMPTS[0], CHAT])
def test_one_prompt_is_read_like_a_list_of_one(tiny_pair, prompt):
    one, listed = tiny_pair.read(prompt), tiny_pair.read([prompt])
    assert torch.equal(one.acts, listed.acts)
    assert one.strings == listed.strings


def test_tokens_stand_beside_the_activations(tiny_pair):
    reading = tiny_pair.read(PROMPTS)
    ids = [tokenize(tiny_pair.tokenizer, prompt)[0] for prompt in PROMPTS]
    assert reading.tokens.ids.tolist() == [token for row in ids for token in row]
    assert reading.tokens.position.tolist() == [i for row in ids for i in range(len(row))]
    assert reading.tokens.document.tolist() == [i for i, row in enumerate(ids) for _ in row]
    assert reading.strings == tiny_pair.tokenizer.convert_ids_to_tokens(reading.tokens.ids.tolist())
    assert len(reading.acts) == len(reading.tokens)


def test_with_the_opening_chats_are_read_up_to_the_answer(tiny_pair):
    question = CHAT[:1]
    short, long = tiny_pair.read([question, "x"]), tiny_pair.read([question, "x"], opening=True)
    n = int((short.tokens.document == 0).sum())
    added = len(long.tokens) - len(short.tokens)
    assert "".join(long.strings[n : n + added]) == "<start_of_turn>modelĊ"
    torch.testing.assert_close(long.acts[:n], short.acts[:n], atol=1e-5, rtol=1e-5)


def test_several_hookpoints_are_several_sources(tiny_pair):
    names = ["resid_post.0", "attn_z.1"]
    reading = tiny_pair.read("Hello", names)
    assert reading.sources.names == ("base.resid_post.0", "chat.resid_post.0", "base.attn_z.1", "chat.attn_z.1")
    assert reading.sources.widths == (32, 32, 32, 32)
    for hookpoint in names:
        alone = tiny_pair.read("Hello", [hookpoint])
        for lm in ("base", "chat"):
            assert torch.equal(reading[f"{lm}.{hookpoint}"], alone[lm])


def test_sources_are_named_after_models_and_keep_the_contrast(tiny_pair):
    sources = tiny_pair.sources()
    assert (sources.names, sources.widths, sources.contrast) == (("base", "chat"), (32, 32), ("chat", "base"))
    assert [source.hookpoint for source in sources] == ["resid_post.1"] * 2
    assert tiny_pair.sources(names=["base"]).contrast is None


def test_what_is_read_can_be_trained_on(tiny_pair):
    weight = torch.ones(64, requires_grad=True)
    (tiny_pair.read("Hello").acts @ weight).sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("residency", "resident"), [("sequential", ["chat"]), ("together", ["base", "chat"])])
def test_residency_decides_how_many_models_are_in_memory(residency, resident):
    pair = load_pair("tiny", residency=residency)
    for name in ("base", "chat"):
        assert pair[name] is pair[name]
    assert list(pair._models) == resident
    pair.release()
    assert not pair._models


def test_dtype_is_that_of_the_models():
    assert next(load_pair("tiny", dtype="bfloat16")["base"].parameters()).dtype == torch.bfloat16


class MoreTokens(TinyLM):
    """A tokenizer with one token more."""

    def tokenizer(self):
        tokenizer = super().tokenizer()
        tokenizer.add_tokens([AddedToken("foo_bar")])
        return tokenizer


class OtherOrder(TinyLM):
    """The same vocabulary, split differently."""

    def tokenizer(self):
        tokenizer = super().tokenizer()
        tokenizer.backend_tokenizer.post_processor = None
        return tokenizer


@pytest.mark.parametrize("other", [MoreTokens(seed=0), OtherOrder(seed=0)])
def test_differing_tokenizers_are_refused(other):
    pair = load_pair("tiny")
    pair.lms["chat"] = other
    with pytest.raises(UserError, match="base and chat have different tokenizers"):
        pair.read("Hello")


class NoTemplate(TinyLM):
    def tokenizer(self):
        tokenizer = super().tokenizer()
        tokenizer.chat_template = None
        return tokenizer


@pytest.mark.parametrize("without", ["base", "chat"])
def test_whichever_chat_template_there_is_serves_both(without):
    pair = load_pair("tiny")
    pair.lms[without] = NoTemplate(seed=0)
    assert "<start_of_turn>" in pair.read(CHAT).strings


def test_spec_rebuilds_the_pair(tiny_pair):
    again = Pair(**tiny_pair.spec())
    assert again.sources() == tiny_pair.sources()
    assert torch.equal(again.read("Hello").acts, tiny_pair.read("Hello").acts)


def test_unknown_names_are_told_what_there_is(tiny_pair):
    with pytest.raises(UserError, match="no model 'it'; there is base, chat"):
        tiny_pair["it"]
    with pytest.raises(UserError, match=f"no pair 'gemma'; conf/models has {', '.join(choices('models'))}"):
        load_pair("gemma")


def test_unknown_residency_is_named(unchecked):
    with pytest.raises(UserError, match="'sequential' or 'together', not 'both'"):
        load_pair("tiny", residency="both")


def unlike(**settings) -> Pair:
    """Two models with tokenizers, and widths, of their own."""
    lms = {"base": {"seed": 0}, "chat": {"seed": 1, "words": True, "d_model": 48}}
    return load_pair("tiny", **{"lms": lms, "align": "spans", **settings})


def test_differing_tokenizers_are_aligned_where_that_is_asked_for():
    pair, prompts = unlike(), ["Line 3 says that 3 is odd.", CHAT]
    reading = pair.read(prompts, ["resid_post.0"])
    assert pair.aligned
    assert "".join(reading.strings) == "LineĠ3Ġ3Ġodd.Why?Because."
    assert reading.tokens.document.tolist() == [0] * 12 + [1] * 12
    for lm, width in (("base", 32), ("chat", 48)):
        ids = [tokenize(pair.tokenizers[lm], prompt)[0] for prompt in prompts]
        hidden = [pair[lm](torch.tensor([row]), output_hidden_states=True).hidden_states[1][0] for row in ids]
        strings = [pair.tokenizers[lm].convert_ids_to_tokens(row) for row in ids]
        assert reading[lm].shape == (len(reading.strings), width)
        at = strings[0].index("3")
        torch.testing.assert_close(reading[lm][reading.strings.index("3")], hidden[0][at], atol=1e-5, rtol=1e-5)
        at = len(strings[1]) - 1 - strings[1][::-1].index(".")
        torch.testing.assert_close(reading[lm][-1], hidden[1][at], atol=1e-5, rtol=1e-5)


def test_what_needs_one_tokenizer_is_refused_where_there_are_two():
    pair = unlike()
    with pytest.raises(NotApplicable, match="needs one tokenizer for all models, but base and chat have their own"):
        pair.tokenizer  # noqa: B018
    with pytest.raises(NotApplicable, match="needs one tokenizer"):
        pair.read(CHAT, opening=True)
    with pytest.raises(UserError, match=r"different tokenizers: .* models\.align=spans"):
        unlike(align=None).read("Hello")


def test_alignment_changes_nothing_where_tokenizers_are_the_same(tiny_pair):
    pair = load_pair("tiny", align="spans")
    assert not pair.aligned
    assert torch.equal(pair.read(PROMPTS).acts, tiny_pair.read(PROMPTS).acts)


def test_alignment_is_a_part_of_what_rebuilds_the_pair(tiny_pair):
    assert "align" not in tiny_pair.spec()
    assert Pair.from_spec(unlike().spec(), "cpu").aligned


def test_tokens_are_those_of_the_contrasts_first_model():
    assert [unlike(contrast=c).leader for c in (("chat", "base"), ("base", "chat"), None)] == ["chat", "base", "base"]


def test_unknown_alignments_are_named(unchecked):
    with pytest.raises(UserError, match="align is 'spans' or null, not 'words'"):
        load_pair("tiny", align="words")
