"""The real configuration, made small: two tiny language models and a few pages of text."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from tests.docs.running import SMALL_EVALS
from tests.helpers.configs import composed
from tests.helpers.small import store_of

SIZES = [
    "n_tokens=2048",
    "n_validation=256",
    "n_heldout=512",
    "train_tokens=2560",
    "batch_size=256",
    "n_latents=96",  # a multiple of 2 and 3, for constraints with two or three rows per latent
    "k=4",
]
CHOICES = {"models": "tiny", "data": "files", "behaviour": "expertise", "logger": "none"}
CHAT = [
    {"role": "user", "content": "Why does it fail?"},
    {"role": "assistant", "content": "The list is empty."},
]


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    """Return rows of a data set: a column of text and chats, and one of conversations."""
    texts = [
        f"Line {i} of a page about things that are {'not ' * (i % 3)}simple." for i in range(300)
    ]
    return [
        {"text": CHAT if i % 5 == 0 else text, "conversation": CHAT} for i, text in enumerate(texts)
    ]


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> dict[str, object]:
    """Return values for `???` in the YAML files: the same rows as a file, and stores."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [
        {"id": str(i), "question": f"Is {i} even?", "a": "Sure? {question}", "b": "{question}"}
        | {"yes": "It is odd.", "no": "Even."}
        for i in range(12)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    for split, n in (("train", 600), ("heldout", 200)):
        store_of(folder / split, {"base": torch.randn(n, 8), "chat": torch.randn(n, 8)}, [n])
    return {
        "data.corpora[0].paths": [str(folder / "rows.jsonl")],
        "behaviour.questions.path": str(folder / "questions.jsonl"),
        "behaviour.framing": "a",
        "behaviour.control": "b",
        "data.train": str(folder / "train"),
        "data.heldout": str(folder / "heldout"),
    }


@pytest.fixture
def config_of(answers: dict[str, object], tmp_path: Path) -> Callable[..., DictConfig]:
    """Return a function like `config_of(activation="relu")`: a small, complete training config."""

    def make(**choices: str) -> DictConfig:
        groups = [f"{group}={choice}" for group, choice in (CHOICES | choices).items()]
        config = composed(*groups, *SIZES, f"run={tmp_path / 'run'}")
        for group in ("data", "behaviour"):
            for key in OmegaConf.missing_keys(config[group]):
                OmegaConf.update(config, key, answers[key])
        for name in config.eval:
            for setting in SMALL_EVALS.get(name, []):
                key, _, value = setting.partition("=")
                OmegaConf.update(config, f"eval.{name}.{key}", yaml.safe_load(value))
        return config

    return make
