"""How fast and how large: `python -m benchmarks.NAME` prints a table and, with `--json FILE`, writes it."""
