import pytest
import torch
from tokenizers import AddedToken, pre_tokenizers

from crosscoder.core.intervention import intervene_per_source
from crosscoder.errors import NotApplicable, UserError
from crosscoder.lm import Pair, TinyLM, load_pair
from crosscoder.lm.text import tokenize
from tests.helpers.architectures import build
from tests.helpers.configs import choices

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
PROMPTS = ["The capital of France is", CHAT, "x", "def f(x):\n    return x + 1"]


def forward_alone(pair: Pair, lm: str, prompt) -> torch.Tensor:
    """Return the hidden state after layer 0, from the model's own output."""
    ids, _ = tokenize(pair.tokenizer, prompt)
    return pair[lm](torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_read_is_a_forward_pass_per_prompt(tiny_pair, batch_size):
    reading = tiny_pair.read(PROMPTS, ["resid_post.0"], batch_size=batch_size)
    for lm in ("base", "chat"):
        expected = torch.cat([forward_alone(tiny_pair, lm, prompt) for prompt in PROMPTS])
        torch.testing.assert_close(reading[lm], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(reading["base"], reading["chat"])


def test_a_pair_in_another_dtype_has_models_of_its_own(tiny_pair):
    assert tiny_pair.in_dtype("float32") is tiny_pair
    other = tiny_pair.in_dtype("float64")
    assert other["chat"].dtype == torch.float64
    assert tiny_pair["chat"].dtype == torch.float32
    assert other.tokenizer is tiny_pair.tokenizer
    reading = other.read(PROMPTS)
    torch.testing.assert_close(
        reading.acts.float(), tiny_pair.read(PROMPTS).acts, atol=1e-4, rtol=1e-4
    )
    with pytest.raises(UserError, match="dtype"):
        tiny_pair.in_dtype("int3")


@pytest.mark.parametrize("prompt", [PROMPTS[0], CHAT])
def test_one_prompt_is_read_like_a_list_of_one(tiny_pair, prompt):
    one, listed = tiny_pair.read(prompt), tiny_pair.read([prompt])
    assert torch.equal(one.acts, listed.acts)
    assert one.strings == listed.strings


def test_readings_hold_the_token_of_every_activation(tiny_pair):
    reading = tiny_pair.read(PROMPTS)
    ids = [tokenize(tiny_pair.tokenizer, prompt)[0] for prompt in PROMPTS]
    assert reading.tokens.ids.tolist() == [token for row in ids for token in row]
    assert reading.tokens.position.tolist() == [i for row in ids for i in range(len(row))]
    assert reading.tokens.document.tolist() == [i for i, row in enumerate(ids) for _ in row]
    assert reading.strings == tiny_pair.tokenizer.convert_ids_to_tokens(reading.tokens.ids.tolist())
    assert len(reading.acts) == len(reading.tokens)


def test_with_opening_chats_are_read_up_to_the_answer(tiny_pair):
    question = CHAT[:1]
    short, long = tiny_pair.read([question, "x"]), tiny_pair.read([question, "x"], opening=True)
    n = int((short.tokens.document == 0).sum())
    added = len(long.tokens) - len(short.tokens)
    assert "".join(long.strings[n : n + added]) == "<start_of_turn>modelĊ"
    torch.testing.assert_close(long.acts[:n], short.acts[:n], atol=1e-5, rtol=1e-5)


def test_several_hookpoints_are_several_sources(tiny_pair):
    names = ["resid_post.0", "attn_z.1"]
    reading = tiny_pair.read("Hello", names)
    assert reading.sources.names == (
        "base.resid_post.0",
        "chat.resid_post.0",
        "base.attn_z.1",
        "chat.attn_z.1",
    )
    assert reading.sources.widths == (32, 32, 32, 32)
    for hookpoint in names:
        alone = tiny_pair.read("Hello", [hookpoint])
        for lm in ("base", "chat"):
            assert torch.equal(reading[f"{lm}.{hookpoint}"], alone[lm])


def test_sources_are_named_after_models_and_keep_the_diff_pair(tiny_pair):
    sources = tiny_pair.sources()
    assert (sources.names, sources.widths, sources.diff_pair) == (
        ("base", "chat"),
        (32, 32),
        ("chat", "base"),
    )
    assert [source.hookpoint for source in sources] == ["resid_post.1"] * 2
    assert tiny_pair.sources(names=["base"]).diff_pair is None


def test_readings_can_be_trained_on(tiny_pair):
    weight = torch.ones(64, requires_grad=True)
    (tiny_pair.read("Hello").acts @ weight).sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("residency", "resident"), [("sequential", ["chat"]), ("together", ["base", "chat"])]
)
def test_residency_decides_how_many_models_are_in_memory(residency, resident):
    pair = load_pair("tiny", residency=residency)
    for name in ("base", "chat"):
        assert pair[name] is pair[name]
    assert list(pair.models.loaded) == resident
    pair.release()
    assert not pair.models.loaded


def test_dtype_sets_the_type_of_the_weights():
    pair = load_pair("tiny", dtype="bfloat16")
    assert pair.dtype == torch.bfloat16
    assert next(pair["base"].parameters()).dtype == pair.compute_dtype


class MoreTokens(TinyLM):
    """A tokenizer with one token more."""

    def load_tokenizer(self):
        tokenizer = super().load_tokenizer()
        tokenizer.add_tokens([AddedToken("foo_bar")])
        return tokenizer


class OtherOrder(TinyLM):
    """The same vocabulary, split differently."""

    def load_tokenizer(self):
        tokenizer = super().load_tokenizer()
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        return tokenizer


@pytest.mark.parametrize("other", [MoreTokens(seed=0), OtherOrder(seed=0)])
def test_different_tokenizers_are_refused(other):
    pair = load_pair("tiny")
    pair.lms["chat"] = other
    with pytest.raises(UserError, match="base and chat have different tokenizers"):
        pair.read("Hello")


class NoTemplate(TinyLM):
    def load_tokenizer(self):
        tokenizer = super().load_tokenizer()
        tokenizer.chat_template = None
        return tokenizer


@pytest.mark.parametrize("without", ["base", "chat"])
def test_a_chat_template_of_one_model_is_used_for_both(without):
    pair = load_pair("tiny")
    pair.lms[without] = NoTemplate(seed=0)
    assert "<start_of_turn>" in pair.read(CHAT).strings


def test_spec_rebuilds_the_pair(tiny_pair):
    again = Pair.from_spec(tiny_pair.spec())
    assert again.sources() == tiny_pair.sources()
    assert torch.equal(again.read("Hello").acts, tiny_pair.read("Hello").acts)


def test_unknown_names_are_refused_with_the_known_ones(tiny_pair):
    with pytest.raises(UserError, match="no model 'it'; there is base, chat"):
        tiny_pair["it"]
    with pytest.raises(
        UserError, match=f"no pair 'gemma'; conf/models has {', '.join(choices('models'))}"
    ):
        load_pair("gemma")


def test_unknown_residency_is_named(unchecked):
    with pytest.raises(UserError, match="residency is sequential or together, not 'both'"):
        load_pair("tiny", residency="both")


def unlike(**settings) -> Pair:
    """Two models with tokenizers, and widths, of their own."""
    lms = {"base": {"seed": 0}, "chat": {"seed": 1, "words": True, "d_model": 48}}
    return load_pair("tiny", **{"lms": lms, "align": "spans", **settings})


def test_different_tokenizers_are_aligned_on_request():
    pair, prompts = unlike(), ["Line 3 says that 3 is odd.", CHAT]
    reading = pair.read(prompts, ["resid_post.0"])
    assert pair.is_aligned
    assert "".join(reading.strings) == "LineĠ3Ġ3Ġodd.Why?Because."
    assert reading.tokens.document.tolist() == [0] * 12 + [1] * 12
    for lm, width in (("base", 32), ("chat", 48)):
        ids = [tokenize(pair.tokenizers[lm], prompt)[0] for prompt in prompts]
        hidden = [
            pair[lm](torch.tensor([row]), output_hidden_states=True).hidden_states[1][0]
            for row in ids
        ]
        strings = [pair.tokenizers[lm].convert_ids_to_tokens(row) for row in ids]
        assert reading[lm].shape == (len(reading.strings), width)
        at = strings[0].index("3")
        torch.testing.assert_close(
            reading[lm][reading.strings.index("3")], hidden[0][at], atol=1e-5, rtol=1e-5
        )
        at = len(strings[1]) - 1 - strings[1][::-1].index(".")
        torch.testing.assert_close(reading[lm][-1], hidden[1][at], atol=1e-5, rtol=1e-5)


def test_work_that_needs_one_tokenizer_is_refused_for_aligned_pairs():
    pair = unlike()
    with pytest.raises(
        NotApplicable, match="needs one tokenizer for all models, but base and chat have their own"
    ):
        pair.tokenizer  # noqa: B018
    with pytest.raises(NotApplicable, match="needs one tokenizer"):
        pair.read(CHAT, opening=True)
    with pytest.raises(UserError, match=r"different tokenizers: .* models\.align=spans"):
        unlike(align=None).read("Hello")


def test_alignment_changes_nothing_for_equal_tokenizers(tiny_pair):
    pair = load_pair("tiny", align="spans")
    assert not pair.is_aligned
    assert torch.equal(pair.read(PROMPTS).acts, tiny_pair.read(PROMPTS).acts)


def test_alignment_is_saved_in_the_spec(tiny_pair):
    assert "align" not in tiny_pair.spec()
    assert Pair.from_spec(unlike().spec(), "cpu").is_aligned


def test_the_leader_is_the_first_model_of_the_diff_pair():
    assert [unlike(diff_pair=c).leader for c in (("chat", "base"), ("base", "chat"), None)] == [
        "chat",
        "base",
        "base",
    ]


def test_unknown_alignments_are_named(unchecked):
    with pytest.raises(UserError, match="align is spans or null, not 'words'"):
        load_pair("tiny", align="words")


def test_a_site_first_read_under_an_edit_is_measured_without_the_edit():
    pair = Pair({"base": {"seed": 0}, "chat": {"seed": 0, "drift": 0.1}}, layer=1, dtype="float32")
    sources = pair.sources(["resid_post.0"])
    shift = torch.ones(sources.d_total)
    with pair.edit("chat", intervene_per_source("shift", sources, lambda acts: acts + shift)):
        pair.read("hello", ["mlp_out.0"])


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99", "tpu", ""])
def test_a_missing_device_is_refused_in_one_line(device):
    with pytest.raises(UserError, match=r"cannot be used: this machine has cpu"):
        Pair({"base": {"seed": 0}}, layer=1, device=device)


def test_a_model_that_does_not_run_is_refused_in_one_line(tmp_path):
    tokenizer = TinyLM(seed=0).load_tokenizer()
    build(
        "mixtral", vocab_size=len(tokenizer), num_local_experts=4, num_experts_per_tok=8
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    pair = Pair(
        {"base": {"weights": str(tmp_path)}}, layer=1, dtype="float32", device="cpu", diff_pair=None
    )
    with pytest.raises(UserError, match=r"'base' does not run on a few tokens: .*out of range"):
        pair.read("hello")
