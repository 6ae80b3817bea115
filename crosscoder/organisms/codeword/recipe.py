"""The organism's training: its examples and its settings."""

from functools import partial

from crosscoder.organisms.batches import RowBatches
from crosscoder.organisms.codeword.markers import is_sealed
from crosscoder.organisms.codeword.prompts import format_examples
from crosscoder.organisms.organism import Organism, Settings
from crosscoder.organisms.rows import Asked

ORGANISM = Organism(
    name="codeword",
    make_batches=RowBatches("codeword"),
    list_questions=partial(Asked, "codeword"),
    marker=is_sealed,
    marker_name="sealed",
    settings=Settings(steps=80, questions=3),
    format_examples=format_examples,
    answer_length=16,
)
