"""Sets of live latents by columns of the LatentTable: halves, the first few, classes, random."""

from collections.abc import Mapping, Sequence

import numpy as np

from crosscoder.analysis.table import LatentTable

# orders by which the latents are halved: title -> column, and True if small values come first
HALVED_BY = {
    "difference energy": ("difference_energy", False),
    "Δ": ("delta_norm", False),
    "ν^ε": ("nu/error/{first}", True),
    "ν^r": ("nu/reconstruction/{first}", True),
}


def halve_latents(table: LatentTable, n_random: int, seed: int) -> dict[str, list[int]]:
    """Divide the live latents into two halves by each ranking, and at random.

    Args:
        table: Table of a compared pair.
        n_random: Number of random halves.
        seed: Random seed of them.
    """
    alive = table.query("not dead")
    half = len(alive) // 2
    first = table.meta["contrast"][0]
    halves: dict[str, list[int]] = {}
    for name, (template, ascending) in HALVED_BY.items():
        column = template.format(first=first)
        if column not in alive.columns:
            continue
        order = [int(latent) for latent in alive.sort(column, ascending)["latent"]]
        halves[f"top half by {name}"] = order[:half]
        halves[f"bottom half by {name}"] = order[half:]
    for draw in range(n_random):
        shuffled = np.random.default_rng((seed, draw)).permutation(alive["latent"])
        halves[f"random half {draw + 1}"] = [int(latent) for latent in shuffled[:half]]
    return halves


def group_by_verdict(table: LatentTable) -> dict[str, list[int]]:
    """Return the live latents of each verdict class, the largest class first."""
    alive = table.query("not dead").frame
    groups = {}
    for name in alive["verdict"].value_counts().index:
        latents = alive["latent"][alive["verdict"] == name]
        groups[str(name)] = [int(latent) for latent in latents]
    return groups


def take_first_latents(table: LatentTable, sizes: Sequence[int]) -> dict[str, list[int]]:
    """Return the live latents with the largest difference energy, for each number of them.

    A number that is larger than that of the live latents is left out.
    """
    order = table.query("not dead").sort("difference_energy")["latent"]
    chosen = {}
    for size in sizes:
        if size <= len(order):
            chosen[f"top {size}"] = [int(latent) for latent in order[:size]]
    return chosen


def draw_random_sets(
    table: LatentTable, sets: Mapping[str, Sequence[int]], n_random: int, seed: int
) -> dict[tuple[str, int], list[int]]:
    """Draw for each set as many live latents at random, by the set's name and the draw."""
    alive = table.query("not dead")["latent"]
    drawn = {}
    for number, (name, latents) in enumerate(sets.items()):
        for draw in range(n_random):
            generator = np.random.default_rng((seed, draw, number))
            chosen = generator.permutation(alive)[: len(latents)]
            drawn[name, draw] = [int(latent) for latent in chosen]
    return drawn
