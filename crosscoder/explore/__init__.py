"""A page to type into: prompts, edits and answers with the models of one run."""
