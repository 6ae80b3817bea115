"""The sparse code and the arithmetic on it, forward and backward.

A code of k entries per token in a dictionary of n_latents is stored as three arrays: row offsets,
latent indices and values. Of a dense training step's five matrix products only the encoder's
forward remains. With E the entries (token t, latent j) and f their values, the others are gathers
over E:

    decode        x̂_t   = Σ_{j∈E_t} f_tj · W_dec[j]
    values' grad  ∂f_tj = ⟨∂x̂_t, W_dec[j]⟩
    decoder grad  ∂W_dec[j] = Σ_{t∈E_j} f_tj · ∂x̂_t
    encoder grad  ∂W_enc[j] = Σ_{t∈E_j} ∂f_tj · x_t

Each is one pass over contiguous rows (crosscoder/core/kernels). The two weight gradients run over
the transposed index (entries sorted by latent), so every gradient row is written once and the
result does not depend on the order of threads.
"""

from crosscoder.core.sparse.autograd import product
from crosscoder.core.sparse.code import Code, DenseCode, SparseCode
from crosscoder.core.sparse.index import Index, index_or_mask

__all__ = [
    "Code",
    "DenseCode",
    "Index",
    "SparseCode",
    "index_or_mask",
    "product",
]
