"""Behaviours: questions that elicit them, measures of how much a model shows them, judges."""
