"""Helpers of several evals: benchmarks, controls, baselines, rankings and other dictionaries."""
