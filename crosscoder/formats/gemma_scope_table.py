"""Table of Gemma Scope's repositories: models, widths and canonical L0s (gemma_scope.toml)."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

SITES = ("resid_post", "mlp_out", "attn_out")  # folders of a Gemma Scope 2 repository


@cache
def load_gemma_scope() -> dict[str, Any]:
    """Load gemma_scope.toml."""
    return tomllib.loads((Path(__file__).parent / "gemma_scope.toml").read_text())
