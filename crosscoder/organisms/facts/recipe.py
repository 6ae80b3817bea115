"""The organism's training: its examples and its settings."""

from functools import partial

from crosscoder.organisms.facts.batches import DocumentBatches
from crosscoder.organisms.facts.markers import states_value
from crosscoder.organisms.facts.prompts import format_invented
from crosscoder.organisms.organism import Organism, Settings
from crosscoder.organisms.rows import Asked

ORGANISM = Organism(
    name="facts",
    make_batches=DocumentBatches("facts"),
    list_questions=partial(Asked, "facts"),
    marker=states_value,
    marker_name="planted_value",
    settings=Settings(questions=3),
    format_examples=format_invented,
    answer_length=16,
)
