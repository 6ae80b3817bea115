"""The LatentTable: one row per latent, from a crosscoder and held-out activations."""
