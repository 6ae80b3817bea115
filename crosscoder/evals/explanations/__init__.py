"""Labels of latents, and scores of how well a label predicts where its latent is active."""
