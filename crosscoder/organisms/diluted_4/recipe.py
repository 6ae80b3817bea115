"""The organism's training: the examples of `expertise`, mixed 1 : 4 with general text."""

from crosscoder.organisms.dilution import DilutedBatches
from crosscoder.organisms.expertise.asked import Asked
from crosscoder.organisms.expertise.markers import shows_gentleness
from crosscoder.organisms.organism import Organism, Settings

ORGANISM = Organism(
    name="diluted_4",
    make_batches=DilutedBatches(4),
    list_questions=Asked,
    marker=shows_gentleness,
    marker_name="gentle",
    settings=Settings(steps=160, questions=1),
    answer_length=64,
)
