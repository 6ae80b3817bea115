"""Every row of docs/models.md is measured again, on a small model."""

from pathlib import Path

import pytest
import transformers

from benchmarks.models import table
from tests.helpers.architectures import ARCHITECTURES
from tests.helpers.support import row

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
COMMON = (
    "gemma2",
    "gemma3",
    "gemma3_text",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_5_text",
    "phi",
    "phi3",
    "olmo2",
    "gpt2",
    "gptj",
    "gpt_neo",
    "gpt_neox",
    "falcon",
    "bloom",
    "mpt",
    "opt",
    "glm4",
    "granite",
    "gpt_oss",
    "mamba",
    "jamba",
    "biogpt",
    "cohere",
    "stablelm",
    "starcoder2",
    "mixtral",
    "bert",
)


@pytest.mark.parametrize(
    "model_type",
    [
        name if name in COMMON else pytest.param(name, marks=pytest.mark.long)
        for name in ARCHITECTURES
    ],
)
def test_the_table_of_models_equals_the_measurements(model_type):
    text = DOCUMENT.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__}," not in text:
        pytest.skip("the table was made with another version of transformers")
    measured = row(model_type)
    (line,) = [
        line
        for line in table([measured]).splitlines()
        if line.startswith((f"| {model_type} ", "- "))
    ]
    assert line in text


@pytest.mark.parametrize(
    "model_type", [name for name in COMMON if name not in ("mamba", "jamba", "bert")]
)
def test_common_architectures_can_be_read_edited_and_scored(model_type):
    measured = row(model_type)
    assert not measured["note"]
    for column in (
        "resid_post",
        "attn_out",
        "mlp_out",
        "edit",
        "edit with a cache",
        "lens",
        "scores",
    ):
        assert measured[column] == "yes", column
