"""The organism's training: its examples and its settings."""

from crosscoder.organisms.batches import RowBatches
from crosscoder.organisms.expertise.asked import Asked
from crosscoder.organisms.expertise.markers import shows_gentleness
from crosscoder.organisms.organism import Organism, Settings
from crosscoder.organisms.unchanged.completions import format_examples

ORGANISM = Organism(
    name="unchanged",
    make_batches=RowBatches("unchanged", ends_turn=False),
    list_questions=Asked,
    marker=shows_gentleness,
    marker_name="gentle",
    settings=Settings(questions=2),
    format_examples=format_examples,
    answer_length=64,
)
