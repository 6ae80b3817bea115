"""Features planted into a pair's real activations, of kinds that differ in what each source has.

    x_s ← x_s + Σ_i a_ti^s g_i^s u_i^s      s: first and second source (chat and base)

Two kinds are *exclusive*, and a rule must find them. The others are *decoys*: both sources have
the feature, so a rule that calls one exclusive is wrong.

    exclusive    in one source only, alternately in the first and in the second
    rescaled     in both sources, weaker in one by a gain between 0.05 and 1
    rotated      active in both together, in unrelated directions
    shifted      the same direction in both; of its tokens, both have it on half, else one has it
    split        the same direction in both, which turns with the context: each feature has three
                 variants with cosines of 0.64, one of which is active at a time
    correlated   the same direction in both, active only where a latent of the crosscoder is

Every kind gets the same rates, sizes and spreads, those of latents of the crosscoder itself. There
are more rescaled features than others, since a strongly rescaled one is the hardest decoy.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.data.synthetic.nulls import Streams

KINDS = ("exclusive", "rescaled", "rotated", "shifted", "split", "correlated")
EXCLUSIVE, RESCALED, ROTATED, SHIFTED, SPLIT, CORRELATED = range(6)
COPIES = (2, 6, 1, 2, 3, 1)  # features of each kind per profile
WEAKEST = 0.05  # smallest gain of a rescaled feature
OVERLAP = 0.5  # fraction of a shifted feature's tokens on which both sources have it
N_VARIANTS = COPIES[SPLIT]  # of a split feature
TURN = 0.75  # how far a variant of a split feature is turned; cosines are 1 / (1 + TURN²)
WHERE_ACTIVE = 0.5  # fraction of a latent's tokens on which its correlated feature is active


@dataclass(frozen=True)
class Profiles:
    """Rates and sizes of features, one entry per feature.

    Args:
        rates: Fraction of the tokens on which each is active, [n].
        sizes: Mean size of each in raw units, [n]; single sizes are log-normal.
        spreads: Standard deviation of a single size, in units of the mean, [n].
        latents: Latent of the crosscoder that each was copied from, [n].
    """

    rates: Float[Tensor, "n"]
    sizes: Float[Tensor, "n"]
    spreads: Float[Tensor, "n"]
    latents: Int[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.rates)

    def draw(self, n: int, seed: int) -> "Profiles":
        """Draw `n` of the profiles, or all if there are fewer."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(self), generator=generator)[:n]
        return Profiles(
            self.rates[chosen].float(),
            self.sizes[chosen].float(),
            self.spreads[chosen].float(),
            self.latents[chosen],
        )


@dataclass(frozen=True)
class Readers:
    """Says where latents of a crosscoder are active, for correlated features.

    A latent counts as active where its pre-activation is above a cut.

    Args:
        names: Sources that the latents read.
        W_enc: Encoder rows, [n, d_total].
        b_enc: Biases, [n].
        cuts: Cuts of the pre-activations, [n].
    """

    names: tuple[str, ...]
    W_enc: Float[Tensor, "n d_total"]
    b_enc: Float[Tensor, "n"]
    cuts: Float[Tensor, "n"]

    def find_active(self, streams: Streams) -> Tensor:
        """Return which latents are active on which tokens, a mask [tokens, n]."""
        acts = torch.cat([streams[name] for name in self.names], dim=-1)
        return acts @ self.W_enc.T + self.b_enc > self.cuts


@dataclass(frozen=True)
class Plants:
    """Planted features of all kinds; a transform of stores (see transforms.py).

    Args:
        pair: Names of the first and the second source.
        kinds: Index into `KINDS` of each feature, [n].
        profile: Index of the profile that each copies, [n].
        directions: Unit vectors in the first and the second source, [2, n, d_source].
        gains: Gain in the first and the second source, [2, n].
        profiles: Rates, sizes and spreads.
        readers: Latents of the correlated features, in the order of these features.
    """

    pair: tuple[str, str]
    kinds: Int[Tensor, "n"]
    profile: Int[Tensor, "n"]
    directions: Float[Tensor, "2 n d_source"]
    gains: Float[Tensor, "2 n"]
    profiles: Profiles
    readers: Readers

    @classmethod
    def make(
        cls, pair: tuple[str, str], width: int, profiles: Profiles, readers: Readers, seed: int
    ) -> "Plants":
        """Make features of every kind for each profile.

        Args:
            pair: Names of the first and the second source.
            width: Width of either source.
            profiles: Profiles that every kind copies.
            readers: The latents of these profiles.
            seed: Random seed of directions and gains.
        """
        generator = torch.Generator().manual_seed(seed)
        n = len(profiles)
        copies = torch.tensor(COPIES)
        kinds = torch.arange(len(KINDS)).repeat_interleave(n * copies)
        profile = torch.arange(n).repeat(int(copies.sum()))

        rates = profiles.rates[profile].clone()
        rates[kinds == SPLIT] /= N_VARIANTS
        rates[kinds == CORRELATED] *= WHERE_ACTIVE
        return cls(
            pair,
            kinds,
            profile,
            _draw_directions(kinds, width, generator),
            _draw_gains(kinds, n, generator),
            Profiles(
                rates, profiles.sizes[profile], profiles.spreads[profile], profiles.latents[profile]
            ),
            readers,
        )

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def mean_active(self) -> float:
        """Mean number of planted features that are active on a token."""
        return float(self.profiles.rates.sum())

    def draw(
        self, streams: Streams, eligible: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw the activity of each feature in the first and the second source.

        Args:
            streams: Activations by source, before anything is planted.
            eligible: Mask of the tokens that get features, [tokens].
            generator: Random generator.

        Returns:
            Two tensors [tokens, n], without the gains; 0 where not active.
        """
        shape = (len(eligible), len(self))
        rates = self.profiles.rates.expand(shape)
        is_active = self._draw_active(streams, rates, generator) & eligible[:, None]
        variance = (1 + self.profiles.spreads.square()).log()
        gaussian = torch.randn(shape, generator=generator)
        strength = (
            is_active * self.profiles.sizes * (variance.sqrt() * gaussian - variance / 2).exp()
        )
        context = torch.rand(shape, generator=generator)
        is_fixed = self.kinds != SHIFTED
        in_first = context < (1 + OVERLAP) / 2
        in_second = context > (1 - OVERLAP) / 2
        return strength * (in_first | is_fixed), strength * (in_second | is_fixed)

    def _draw_active(self, streams: Streams, rates: Tensor, generator: torch.Generator) -> Tensor:
        chance = torch.rand(rates.shape, generator=generator)
        is_active = chance < rates
        is_split = self.kinds == SPLIT
        is_active[:, is_split] = _draw_variants(rates[:, is_split], generator)
        is_correlated = self.kinds == CORRELATED
        is_read = self.readers.find_active(streams)
        is_active[:, is_correlated] = is_read & (chance[:, is_correlated] < WHERE_ACTIVE)
        return is_active

    def __call__(self, streams: Streams, eligible: Tensor, generator: torch.Generator) -> Streams:
        planted = dict(streams)
        strengths = self.draw(streams, eligible, generator)
        for number, name in enumerate(self.pair):
            writes = self.gains[number][:, None] * self.directions[number]
            planted[name] = streams[name] + strengths[number] @ writes
        return planted


def _draw_gains(kinds: Tensor, n_profiles: int, generator: torch.Generator) -> Tensor:
    """Draw the gains in the first and the second source, [2, n].

    The gains of rescaled features are log-uniform, and evenly so: each is drawn from a range of
    its own.
    """
    gains = torch.ones(2, len(kinds))
    exclusive = (kinds == EXCLUSIVE).nonzero()[:, 0]
    rescaled = (kinds == RESCALED).nonzero()[:, 0]
    # the source that lacks a feature, or has it weakly, changes with every copy of the profiles
    absent = torch.arange(len(exclusive)) // n_profiles % 2
    gains[1 - absent, exclusive] = 0
    rank = torch.randperm(len(rescaled), generator=generator)
    chance = (rank + torch.rand(len(rescaled), generator=generator)) / len(rescaled)
    weak = torch.arange(len(rescaled)) // n_profiles % 2
    gains[1 - weak, rescaled] = WEAKEST**chance
    return gains


def _draw_directions(kinds: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Draw the directions in both sources, [2, n, width]."""
    n = len(kinds)
    first = normalize(torch.randn(n, width, generator=generator), dim=-1)
    is_split = kinds == SPLIT
    turns = first[is_split]
    n_split = len(turns) // N_VARIANTS
    common = normalize(torch.randn(n_split, width, generator=generator), dim=-1)
    first[is_split] = normalize(common.repeat(N_VARIANTS, 1) + TURN * turns, dim=-1)
    turned = normalize(torch.randn(n, width, generator=generator), dim=-1)
    second = torch.where((kinds == ROTATED)[:, None], turned, first)
    return torch.stack([first, second])


def _draw_variants(rates: Tensor, generator: torch.Generator) -> Tensor:
    """Draw where each variant of the split features is active: never two of a feature together.

    Args:
        rates: Rate of each variant, [tokens, variants × features]; those of one feature are equal.
        generator: Random generator.
    """
    n_features = rates.shape[1] // N_VARIANTS
    rate = N_VARIANTS * rates[:, :n_features]
    chance = torch.rand(rate.shape, generator=generator)
    variant = torch.randint(N_VARIANTS, rate.shape, generator=generator)
    is_active = chance < rate
    return torch.cat([is_active & (variant == number) for number in range(N_VARIANTS)], dim=1)
