"""Requirements: statements of activations, loss terms and constraints about what they combine with.

Each of them has an attribute `requirements`. `training/compatibility.py` reads it before anything
is harvested or trained, so a new activation, loss term or constraint needs no edit there.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Requirements:
    """Statements of one activation, loss term or constraint; the defaults ask for nothing.

    Args:
        reconstructs: Loss term that measures the error of the reconstruction. A loss has one.
        squared_error: Loss term that measures the squared error ‖x − x̂‖².
        needs_squared_error: Loss term that is bounded below only beside a `squared_error`.
        penalises: Loss term that makes codes sparse.
        has_l0_target: Loss term that aims at a number of active latents by itself.
        needs: Loss term that trains these parameters of the activation, e.g. "thresholds".
        learnable: Parameters of the activation that loss terms can train, e.g. "thresholds".
        needs_loss: Activation whose `learnable` parameters need a loss term that trains them.
        needs_penalty: Activation that gives sparse codes only with a penalty.
        claims: Latents that a loss term or a constraint gives a role, e.g. "the first latents".
        supports_latent_sharding: Computable where each process holds some of the latents.
    """

    reconstructs: bool = False
    squared_error: bool = False
    needs_squared_error: bool = False
    penalises: bool = False
    has_l0_target: bool = False
    needs: str = ""
    learnable: str = ""
    needs_loss: bool = False
    needs_penalty: bool = False
    claims: str = ""
    supports_latent_sharding: bool = False
