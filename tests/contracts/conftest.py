"""The real configuration, shrunk to seconds: two tiny language models and a few pages of text."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from tests.configs import composed
from tests.small import store_of

SIZES = [
    "n_tokens=2048",
    "n_validation=256",
    "n_heldout=512",
    "train_tokens=2560",
    "batch_size=256",
    "n_latents=96",  # rows enough for constraints that want two or three for each latent
    "k=4",
]
CHOICES = {"models": "tiny", "data": "files", "logger": "none"}
CHAT = [{"role": "user", "content": "Why does it fail?"}, {"role": "assistant", "content": "The list is empty."}]


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    """Documents as a data set has them: a column of text and chats, and one of conversations."""
    texts = [f"Line {i} of a page about things that are {'not ' * (i % 3)}simple." for i in range(300)]
    return [{"text": CHAT if i % 5 == 0 else text, "conversation": CHAT} for i, text in enumerate(texts)]


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> dict[str, object]:
    """What to put where a YAML says `???`: the same rows as a file, and stores."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, n in (("train", 600), ("heldout", 200)):
        store_of(folder / split, {"base": torch.randn(n, 8), "chat": torch.randn(n, 8)}, [n])
    return {
        "data.corpora[0].paths": [str(folder / "rows.jsonl")],
        "data.train": str(folder / "train"),
        "data.heldout": str(folder / "heldout"),
    }


@pytest.fixture
def config_of(answers: dict[str, object], tmp_path: Path) -> Callable[..., DictConfig]:
    """`config_of(activation="relu")`: the configuration of `train.py` with these choices, small and complete."""

    def make(**choices: str) -> DictConfig:
        groups = [f"{group}={choice}" for group, choice in (CHOICES | choices).items()]
        config = composed(*groups, *SIZES, f"run={tmp_path / 'run'}")
        for key in OmegaConf.missing_keys(config.data):
            OmegaConf.update(config, key, answers[key])
        return config

    return make
