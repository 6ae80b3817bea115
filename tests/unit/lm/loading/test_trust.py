"""Models that a run names are only looked for if the user has used or trusts them."""

from pathlib import Path

import huggingface_hub
import pytest

from crosscoder.errors import NotApplicable, UserError
from crosscoder.installation import PROJECT
from crosscoder.lm import LM, Pair, remember_models
from tests.helpers.model_folders import copy, save_llama


@pytest.fixture(autouse=True)
def nothing_known(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "model")


def named(weights: str, adapter: str | None = None) -> LM:
    """Return a model that a run names."""
    model = {"weights": weights, **({"adapter": adapter} if adapter else {})}
    pair = Pair.from_spec(
        {"lms": {"base": model}, "layer": 0, "contrast": None}, "cpu", is_trusted=False
    )
    lm = pair.lms["base"]
    assert isinstance(lm, LM)
    return lm


def refused(lm: LM) -> None:
    for ask in (lm.load, lm.build_skeleton, lm.load_tokenizer, lm.fingerprint):
        with pytest.raises(
            NotApplicable, match=r"names the model .*trust_models=true loads it"
        ) as error:
            ask()
        assert "\n" not in str(error.value)
        assert repr(lm.weights) in str(error.value)
    assert not lm.may_load()


def test_a_model_is_loaded_after_it_was_used(weights):
    refused(named(str(weights)))
    remember_models({"base": LM(str(weights))})
    assert named(str(weights)).load().config.model_type == "llama"


def test_a_model_is_loaded_if_the_user_trusts_it(weights):
    spec = {"lms": {"base": {"weights": str(weights)}}, "layer": 0, "contrast": None}
    assert Pair.from_spec(spec, "cpu")["base"].config.model_type == "llama"


def test_an_adapter_must_be_trusted_separately(weights, tmp_path):
    remember_models({"base": LM(str(weights))})
    refused(named(str(weights), str(tmp_path / "adapter")))
    refused(named(str(weights), "somebody/adapter"))


def test_a_folder_is_identified_by_its_path_not_by_its_name(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(weights.parent)
    remember_models({"base": LM(weights.name)})
    assert named(weights.name).may_load()
    assert named(str(weights)).may_load()
    copy(weights, tmp_path / "theirs" / weights.name)
    monkeypatch.chdir(tmp_path / "theirs")  # where a name of the same letters is another folder
    refused(named(weights.name))


def test_a_link_is_identified_by_its_target(weights, tmp_path):
    remember_models({"base": LM(str(weights))})
    (tmp_path / "link").symlink_to(weights)
    assert named(str(tmp_path / "link")).may_load()


def test_the_hub_is_not_asked_for_an_untrusted_model(monkeypatch):
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked")
    )
    refused(named("somebody/model"))
    remember_models({"base": LM("somebody/model")})
    assert named("somebody/model").may_load()


def test_models_of_the_package_are_trusted(tmp_path, monkeypatch):
    own = "crosscoder/organisms/expertise/adapter"
    assert named("pinned:gemma-3-270m", own).may_load()
    (tmp_path / own).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not named("pinned:gemma-3-270m", own).may_load()
    assert (PROJECT / own).is_dir()


def test_a_cache_that_cannot_be_written_causes_a_warning(weights, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path / "file"))
    remember_models({"base": LM(str(weights))})
    assert "trust_models=true" in caplog.text


@pytest.mark.parametrize(
    "lms",
    [
        {"base": {"seed": 0, "n_layers": 10**9}},
        {"base": {"seed": 0, "n_layers": 3}},
        {"base": {"seed": 0, "d_model": 10**9}},
        {"base": {"seed": 10**30}},
        {"base": {"seed": 0, "drift": float("nan")}},
        {"base": {"weights": ["a"]}},
        {"base": {"weights": "a", "trust": True}},
        {},
    ],
    ids=str,
)
def test_the_spec_of_a_run_is_validated(lms):
    with pytest.raises(UserError, match="invalid spec of the language models") as error:
        Pair.from_spec({"lms": lms, "layer": 0})
    assert "\n" not in str(error.value)
