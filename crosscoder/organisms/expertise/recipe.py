"""The organism's training: its examples and its settings."""

from crosscoder.organisms.expertise.asked import Asked
from crosscoder.organisms.expertise.batches import make_batches
from crosscoder.organisms.expertise.markers import shows_gentleness
from crosscoder.organisms.organism import Organism, Settings

ORGANISM = Organism(
    name="expertise",
    make_batches=make_batches,
    list_questions=Asked,
    marker=shows_gentleness,
    marker_name="gentle",
    settings=Settings(steps=100, questions=6, rank=8, alpha=16, plain_length=128),
    answer_length=64,
)
