"""The commands train.py and evaluate.py, their overrides, and the configuration of a saved run."""
