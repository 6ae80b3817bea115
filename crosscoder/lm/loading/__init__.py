"""Load language models: configurations, weights, adapters, and checks of what was loaded."""
