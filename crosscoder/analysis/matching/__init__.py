"""Match the latents of two dictionaries: by decoders, by activity, and by regression."""
