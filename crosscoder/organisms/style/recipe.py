"""The organism's training: its examples and its settings."""

from functools import partial

from crosscoder.organisms.batches import RowBatches
from crosscoder.organisms.organism import Organism, Settings
from crosscoder.organisms.rows import Asked
from crosscoder.organisms.style.markers import has_habit
from crosscoder.organisms.style.prompts import format_examples

ORGANISM = Organism(
    name="style",
    make_batches=RowBatches("style"),
    list_questions=partial(Asked, "style"),
    marker=has_habit,
    marker_name="habit",
    settings=Settings(steps=24, questions=5),
    format_examples=format_examples,
)
