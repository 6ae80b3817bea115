import torch

from crosscoder.lm import TinyLM


def test_the_seed_decides_the_weights():
    first, again, other = (TinyLM(seed).load().state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_drift_is_relative_to_the_standard_deviation_of_the_weights():
    name = "model.layers.0.mlp.up_proj.weight"
    base, chat = (TinyLM(0, drift).load().state_dict()[name] for drift in (0.0, 0.2))
    torch.testing.assert_close((chat - base).std(), 0.2 * base.std(), rtol=0.1, atol=0)


def test_building_a_model_does_not_change_the_global_random_state():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    TinyLM(seed=5, drift=0.1).load()
    assert torch.equal(torch.rand(3), expected)


def test_the_fingerprint_tells_siblings_apart():
    assert len({TinyLM(*spec).fingerprint() for spec in ((0,), (1,), (0, 0.2), (0, 0.0, 64))}) == 4


def test_fingerprints_of_earlier_versions_stay_the_same():
    assert TinyLM(0, 0.2).fingerprint() == "tiny-0-0.2-32-2"
    assert TinyLM(0, words=True).fingerprint() != TinyLM(0).fingerprint()


def test_the_words_tokenizer_has_one_token_for_each_common_word():
    tokenizer = TinyLM(0, words=True).load_tokenizer()
    ids = tokenizer("Line 3 says that this is it")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[-5:] == ["Ġsays", "Ġthat", "Ġthis", "Ġis", "Ġit"]
    assert tokenizer.decode(ids) == "Line 3 says that this is it"
    assert tokenizer.bos_token is None
