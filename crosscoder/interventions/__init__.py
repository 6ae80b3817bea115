"""Interventions on the activations of a running model, applied by `Pair.edit`."""
