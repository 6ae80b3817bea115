"""Train and evaluate crosscoders for model diffing: one sparse code of a base and a finetuned language model."""
