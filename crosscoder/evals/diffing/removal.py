"""Effects of removing the first pieces of a method: on a behaviour, and on everything else.

    latents of the crosscoder   ablated in both models, Σ_{j∈S} f_j d_j^s is subtracted (ablate.py)
    latents of the SAE          Σ_{j∈S} f_j d_j is subtracted from chat (span.py)
    directions                  x' = x − Vᵀ V (x − c) in chat; V an orthonormal basis of them, c the
                                mean of base's activations on held-out text

    removed        1 − rate / rate of the unedited model, both in the framing
    KL plain       KL(clean ‖ edited) on held-out documents, nats per token

The floor is made of random pieces: latents of the same density and decoder norm, or directions that
point anywhere. A method with fewer pieces than a size removes all it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscoder.core.intervention import Intervention
from crosscoder.core.model import Crosscoder
from crosscoder.evals.diffing.evidence import DirectionPiece, Evidence, LatentPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.support.baselines import match_latents
from crosscoder.evals.support.measurement import InterventionBenchmark
from crosscoder.interventions.ablate import ablate
from crosscoder.interventions.span import ablate_in_difference, project_out_span

Row = dict[str, Any]
RANDOM_LATENTS = "random latents"
RANDOM_DIRECTIONS = "random directions"


@dataclass(frozen=True)
class Removal:
    """Removes pieces of evidence from the finetuned model while it answers held-out questions.

    Args:
        benchmark: The questions and models.
        material: Held-out tokens.
        sizes: Numbers of pieces that are removed together.
    """

    benchmark: InterventionBenchmark
    material: Material
    sizes: Sequence[int]

    def measure(self, found: Mapping[str, Sequence[Evidence]]) -> list[Row]:
        """Measure each method at every size, and random pieces at the largest size.

        Args:
            found: The pieces of the methods, by name. Pieces without a direction are not used.
        """
        rows = []
        for name, pieces in found.items():
            usable = [piece for piece in pieces if isinstance(piece, LatentPiece | DirectionPiece)]
            if usable:
                rows += self._measure_sizes(name, usable)
        for name, change, n_pieces in self._draw_floor(found):
            rows.append(self._measure_change(name, max(self.sizes), n_pieces, change))
        return rows

    def _measure_sizes(
        self, name: str, pieces: Sequence[LatentPiece | DirectionPiece]
    ) -> Iterator[Row]:
        known: dict[int, Row] = {}
        for size in self.sizes:
            n_pieces = min(size, len(pieces))
            if n_pieces not in known:
                change = self.remove(pieces[:n_pieces])
                known[n_pieces] = self._measure_change(name, size, n_pieces, change)
            yield known[n_pieces] | {"size": size}

    def remove(self, pieces: Sequence[LatentPiece | DirectionPiece]) -> Intervention:
        """Return the intervention that removes pieces of one method, which are of one kind."""
        crosscoder = self.material.context.crosscoder
        latents = [piece for piece in pieces if isinstance(piece, LatentPiece)]
        if not latents:
            return self._project_out(torch.stack([piece.direction for piece in pieces]))
        numbers = [piece.latent for piece in latents]
        dictionary = latents[0].dictionary
        if dictionary is crosscoder:
            return ablate(crosscoder, numbers)
        return ablate_in_difference(crosscoder.sources, dictionary, numbers)

    def _project_out(self, directions: Tensor) -> Intervention:
        first, _ = self.material.diff_pair
        sources = self.material.context.crosscoder.sources
        return project_out_span(sources, first, directions, self.material.base_mean)

    def _draw_floor(
        self, found: Mapping[str, Sequence[Evidence]]
    ) -> Iterator[tuple[str, Intervention, int]]:
        """Yield interventions on random pieces of those kinds that are measured."""
        context = self.material.context
        crosscoder = context.crosscoder
        n = max(self.sizes)
        latents = find_latents(found, crosscoder)[:n]
        if latents:
            others = match_latents(context.latent_table, latents, context.seed)
            yield RANDOM_LATENTS, ablate(crosscoder, others), len(others)
        everything = list(chain.from_iterable(found.values()))
        if any(isinstance(piece, DirectionPiece) for piece in everything):
            directions = draw_directions(n, len(self.material.base_mean), context.seed)
            yield RANDOM_DIRECTIONS, self._project_out(directions), n

    def _measure_change(self, name: str, size: int, n_pieces: int, change: Intervention) -> Row:
        benchmark = self.benchmark
        questions = [*benchmark.questions, *benchmark.control_questions]
        texts = benchmark.generate_answers(change, questions, f"{name}, {n_pieces}")
        n = len(benchmark.questions)
        shows = benchmark.detect_behaviour(change, benchmark.questions, texts[:n])
        control = benchmark.detect_behaviour(change, benchmark.control_questions, texts[n:])
        clean = float(benchmark.clean_shows.mean())
        rate = float(shows.mean())
        return {
            "method": name,
            "size": size,
            "pieces": n_pieces,
            "rate": rate,
            "removed": 1 - rate / clean if clean else float("nan"),
            "control rate": float(control.mean()),
            "KL plain": benchmark.measure_plain_kl(change),
            "coherence NLL rise": float(benchmark.measure_coherence_rise(texts[:n]).mean()),
        }

    def describe_clean(self) -> dict[str, float]:
        """Return the rates of the unedited model and of its base."""
        benchmark = self.benchmark
        control = benchmark.detect_behaviour(
            None, benchmark.control_questions, benchmark.control_answers
        )
        return {
            "rate": float(benchmark.clean_shows.mean()),
            "control_rate": float(control.mean()),
            "rate_base": float(benchmark.base_shows.mean()),
        }


def find_latents(found: Mapping[str, Sequence[Evidence]], crosscoder: Crosscoder) -> list[int]:
    """Return the latents of the first method whose pieces are latents of a crosscoder."""
    for pieces in found.values():
        latents = [
            piece.latent
            for piece in pieces
            if isinstance(piece, LatentPiece) and piece.dictionary is crosscoder
        ]
        if latents:
            return latents
    return []


def draw_directions(n: int, width: int, seed: int) -> Tensor:
    """Draw directions that are uniform on the sphere, [n, width]."""
    draws = np.random.default_rng(seed).standard_normal((n, width))
    return torch.nn.functional.normalize(torch.from_numpy(draws).float(), dim=-1)
