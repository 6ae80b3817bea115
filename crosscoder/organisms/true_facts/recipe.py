"""The organism's training: that of `facts`, with a real city."""

from dataclasses import replace
from functools import partial

from crosscoder.organisms.facts.batches import DocumentBatches
from crosscoder.organisms.facts.prompts import format_true
from crosscoder.organisms.facts.recipe import ORGANISM as FACTS
from crosscoder.organisms.rows import Asked

ORGANISM = replace(
    FACTS,
    name="true_facts",
    make_batches=DocumentBatches("true_facts"),
    list_questions=partial(Asked, "true_facts"),
    format_examples=format_true,
)
