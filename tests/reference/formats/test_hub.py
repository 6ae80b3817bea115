"""Names of the hub: downloaded files, and repository, commit and site in the provenance."""

from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest

import crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import catalogue
from tests.helpers.foreign import write
from tests.reference.formats import test_openmoss_sae as llama_scope
from tests.reference.formats.crosscoders import OLD, TRAINER
from tests.reference.formats.crosscoders import weights as of_two_models
from tests.reference.formats.files import Draw, assert_agrees, d
from tests.reference.formats.test_gemma_scope import formula, weights
from tests.reference.formats.test_gemma_scope_2_layers import files as layer_files
from tests.reference.formats.test_gemma_scope_2_layers import weights as layer_weights
from tests.reference.formats.test_kissane import CONFIG, raw
from tests.reference.formats.test_kissane import formula as formula_of_kissane
from tests.reference.formats.test_kissane import weights as of_kissane
from tests.reference.formats.test_lone_files import layer

COMMIT = "5f2c0a9b8d7e6f1a2b3c4d5e6f708192a3b4c5d6"


class Hub:
    """Stub of the hub that downloads only the requested files into a cache."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.asked = folder, {}, []

    def put(self, repo: str, folder: str, files: dict) -> None:
        self.files.setdefault(repo, {})[folder] = files

    def root(self, repo: str) -> Path:
        return self.folder / f"models--{repo.replace('/', '--')}" / "snapshots" / COMMIT

    def snapshot_download(
        self,
        repo: str,
        repo_type: str,
        revision: str | None,
        allow_patterns: list[str],
        local_files_only: bool,
        tqdm_class: type,
    ) -> str:
        assert repo_type == "model"
        assert not local_files_only
        self.asked.append((repo, revision))
        for folder, files in self.files[repo].items():
            paths = {name: f"{folder}/{name}".lstrip("/") for name in files}
            wanted = [
                name
                for name, path in paths.items()
                if any(fnmatch(path, p) for p in allow_patterns)
            ]
            write(self.root(repo) / folder, {name: files[name] for name in wanted})
        return str(self.root(repo))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def come_from(loaded, repo: str, hookpoint: dict) -> None:
    provenance = loaded.provenance
    assert (provenance["repo"], provenance["revision"], provenance["hookpoint"]) == (
        repo,
        COMMIT,
        hookpoint,
    )


@pytest.mark.parametrize(
    ("spec", "revision"),
    [
        (f"hf://google/gemma-scope-2b-pt-res@{COMMIT}/layer_12/width_16k/canonical", COMMIT),
        ("hf://google/gemma-scope-2b-pt-res@main/layer_12/width_16k/average_l0_82", "main"),
        ("google/gemma-scope-2b-pt-res/layer_12/width_16k/canonical", None),
        ("gemma-scope-2b-pt-res/layer_12/width_16k/canonical", None),
        ("gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical", None),
        ("gemma-scope-2b-pt-res/layer_12/width_16k", None),
    ],
)
def test_names_of_gemma_scope(hub, small, spec, revision):
    draw = Draw()
    w, other, x = weights(draw), weights(draw), draw(40, d, std=3)
    repo = "google/gemma-scope-2b-pt-res"
    hub.put(repo, "layer_12/width_16k/average_l0_82", {"params.npz": w, "notes.json": {}})
    hub.put(repo, "layer_12/width_16k/average_l0_22", {"params.npz": other})
    loaded = crosscoder.load(spec)
    assert_agrees(loaded, x, *formula(x, w))
    assert hub.asked == [(repo, revision)]
    come_from(loaded, repo, {"base": "resid_post.12"})
    assert [path.name for path in hub.root(repo).rglob("*.*") if path.is_file()] == ["params.npz"]


def test_the_named_folder_is_read(hub, small):
    w = weights(Draw(1))
    hub.put("google/gemma-scope-2b-pt-res", "layer_12/width_16k/average_l0_22", {"params.npz": w})
    loaded = crosscoder.load("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_22")
    assert loaded.provenance["average_l0"] == 22


def test_a_cache_folder_determines_its_repository(hub, small):
    repo, folder = "google/gemma-scope-9b-it-res", "layer_20/width_16k/average_l0_91"
    hub.put(repo, folder, {"params.npz": weights(Draw())})
    crosscoder.load("gemma-scope-9b-it-res", "layer_20/width_16k/canonical")
    come_from(crosscoder.load(hub.root(repo) / folder), repo, {"chat": "resid_post.20"})


def test_a_crosscoder_over_layers(hub, small):
    repo, folder = "google/gemma-scope-2-270m-it", "crosscoder/layer_5_9_12_15_width_65k_l0_medium"
    hub.put(repo, folder, layer_files(layer_weights(Draw(), 640), type="crosscoder"))
    loaded = crosscoder.load(f"hf://{repo}@{COMMIT}/{folder}")
    come_from(
        loaded,
        repo,
        {f"chat.resid_post.{layer}": f"resid_post.{layer}" for layer in (5, 9, 12, 15)},
    )
    assert len(loaded.provenance["sha256"]) == 5


def test_files_at_the_top_of_a_repository(hub):
    repo = "science-of-finetuning/gemma-2-2b-L13-mu4.1e-02-lr1e-04-local-shuffling-CrosscoderLoss"
    trainer = {"trainer": TRAINER | {"dict_class": "CrossCoder"}}
    files = {
        "config.json": OLD,
        "model.safetensors": of_two_models(Draw()),
        "trainer_config.json": trainer,
    }
    hub.put(repo, "", files)
    for spec in (f"hf://{repo}", "minder2025_l1"):
        come_from(crosscoder.load(spec), repo, {"base": "resid_post.13", "chat": "resid_post.13"})


def test_the_published_factors_of_kissane_are_known(hub):
    draw = Draw(1)
    w, x = of_kissane(draw), raw(draw)
    repo = "ckkissane/crosscoder-gemma-2-2b-model-diff"
    hub.put(repo, "blocks.14.hook_resid_pre", {"cfg.json": CONFIG, "cc_weights.pt": w})
    loaded = crosscoder.load("kissane2024")
    published = {"base": 0.2758961493232058, "chat": 0.24422852496546169}
    assert_agrees(loaded, x, *formula_of_kissane(x, w, published))
    come_from(loaded, repo, {"base": "resid_post.13", "chat": "resid_post.13"})


def test_only_the_named_file_of_a_repository_is_downloaded(hub):
    draw = Draw(2)
    repo = "Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_5"
    hub.put(
        repo, "", {"layer0.sae.pt": layer(draw), "layer1.sae.pt": layer(draw), "README.json": {}}
    )
    loaded = crosscoder.load(f"hf://{repo}@{COMMIT}/layer1.sae.pt")
    come_from(loaded, repo, {"base": "resid_post.1"})
    assert [path.name for path in hub.root(repo).rglob("*.*") if path.is_file()] == [
        "layer1.sae.pt"
    ]
    hub.put("Qwen/SAE-Res-Qwen3-8B-Base-W1K-L0_5", "", {"layer0.sae.pt": layer(draw)})
    with pytest.raises(
        UserError, match=r"name one: hf://Qwen/SAE-Res-Qwen3-8B-Base-W1K-L0_5/layer0\.sae\.pt"
    ):
        crosscoder.load("hf://Qwen/SAE-Res-Qwen3-8B-Base-W1K-L0_5")


def test_the_named_file_is_downloaded_with_its_settings(hub):
    draw = Draw(3)
    repo = "someone/crosscoders"
    pair = {"run_a.pt": of_kissane(draw), "run_a_cfg.json": CONFIG}
    hub.put(repo, "there", pair | {"run_b.pt": of_kissane(draw), "run_b_cfg.json": CONFIG})
    loaded = crosscoder.load(f"hf://{repo}/there/run_a.pt", input_scale=1.0)
    assert set(loaded.provenance["sha256"]) == {"run_a.pt", "run_a_cfg.json"}


def test_files_in_a_folder_further_down(hub):
    repo, name = "fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L15R-8x"
    w = llama_scope.older(llama_scope.weights(Draw(4)))
    hub.put(
        repo,
        name,
        {"hyperparams.json": llama_scope.hyperparams(), "checkpoints/final.safetensors": w},
    )
    come_from(crosscoder.load(f"hf://{repo}/{name}"), repo, {"base": "resid_post.15"})


def test_there_is_no_gemma_scope_crosscoder_of_a_pair(hub):
    with pytest.raises(UserError, match="there is no 'gemma-scope-9b-crosscoder'") as error:
        crosscoder.load("gemma-scope-9b-crosscoder", "layer_24/width_65k")
    message = str(error.value)
    assert "no crosscoder of a base and a chat model" in message
    for name in ("gemma-scope-9b-pt-res", "gemma-scope-9b-it-res"):
        widths = message.partition(f"{name} (")[2].partition(")")[0]
        assert "16k" in widths
        assert "131k" in widths
    assert hub.asked == []


def test_widths_and_canonical_folders():
    assert catalogue.parse_width("16k") == 16_384
    assert catalogue.parse_width("1m") == 1_048_576
    for word, exponent in {
        "4k": 12,
        "32k": 15,
        "65k": 16,
        "131k": 17,
        "262k": 18,
        "524k": 19,
    }.items():
        assert catalogue.parse_width(word) == 2**exponent
    canonical = {
        "2b-pt-res/layer_12/width_16k": 82,
        "2b-pt-res/layer_13/width_16k": 84,
        "2b-pt-res/layer_13/width_65k": 75,
        "9b-it-res/layer_9/width_16k": 88,
        "9b-it-res/layer_20/width_16k": 91,
        "9b-it-res/layer_31/width_16k": 76,
        "9b-it-res/layer_9/width_131k": 121,
        "9b-it-res/layer_20/width_131k": 81,
        "9b-it-res/layer_31/width_131k": 109,
    }
    for name, l0 in canonical.items():
        assert (
            catalogue.resolve_name(f"gemma-scope-{name}/canonical")
            == f"google/gemma-scope-{name}/average_l0_{l0}"
        )
