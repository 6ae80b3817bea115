"""Edit activations while models run and generate; the other models run in lockstep."""
