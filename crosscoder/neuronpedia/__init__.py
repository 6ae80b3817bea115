"""Export of a run's latents in the layout that Neuronpedia imports in bulk."""
