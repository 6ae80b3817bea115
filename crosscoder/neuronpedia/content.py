"""Content of a run for an export: crosscoder, table of latents, contexts, language models."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import load
from crosscoder.installation import name_command
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.lm.loading.trust import NamedLM
from crosscoder.report.inputs import Inputs

NEEDED = ("density", "max")  # columns of the table without which a latent has no page


@dataclass(frozen=True)
class Content:
    """Content of a run.

    Args:
        crosscoder: The crosscoder, on raw activations.
        table: Table of latents, a row for each latent in order.
        contexts: Examples of latents; None if the run has none.
        pair: The language models; None if the crosscoder was trained without any.
    """

    crosscoder: Crosscoder
    table: pd.DataFrame
    contexts: pd.DataFrame | None
    pair: Pair | None

    @property
    def labels(self) -> pd.Series | None:
        """Labels by latent, without empty ones; None if the run has none."""
        if "label" not in self.table:
            return None
        labels = self.table["label"].str.strip()
        found = labels[labels != ""]
        return found if len(found) else None


def read_content(folder: Path, is_trusted: bool = False) -> Content:
    """Read a run folder, or a crosscoder's folder with `results/`.

    Args:
        folder: The folder.
        is_trusted: Whether language models are loaded that this user has not used before.

    Raises:
        UserError: The run has no table of latents, or one of another crosscoder; or it names
            language models that are not trusted.
    """
    inputs = Inputs(Run(folder))
    crosscoder = load(folder).fold()
    table = inputs.table
    if table is None:
        raise UserError(
            f"{folder} has no results/latents.parquet of its crosscoder: "
            f"`{name_command('evaluate')} crosscoder={folder} eval=[diff]` writes it"
        )
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise UserError(
            f"the table of latents lacks {' and '.join(missing)}: evaluate with column=activity"
        )
    frame = table.frame.set_index("latent", drop=False).sort_index()
    if list(frame.index) != list(range(crosscoder.n_latents)):
        raise UserError(
            f"the table of latents has {len(frame):,} rows, "
            f"but the crosscoder has {crosscoder.n_latents:,} latents"
        )
    pair = _build_pair(crosscoder, is_trusted)
    return Content(crosscoder, frame, inputs.contexts, pair)


def _build_pair(crosscoder: Crosscoder, is_trusted: bool) -> Pair | None:
    spec = crosscoder.provenance.get("pair")
    if not spec:
        return None
    pair = Pair.from_spec(spec, is_trusted=is_trusted)
    for name, lm in pair.lms.items():
        if isinstance(lm, NamedLM) and not lm.may_load():
            raise UserError(
                f"the run names the language model {lm.describe()!r:.80} as {name}, which no "
                "training of yours has used on this machine: if you trust its source, add "
                "--trust-models"
            )
    return pair
