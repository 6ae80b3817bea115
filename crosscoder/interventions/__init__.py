"""Changes to activations while a model runs, applied through `lm.hooks`."""
