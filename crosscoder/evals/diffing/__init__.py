"""Methods that say what a finetuning changed, and the scores of the evidence they return."""
