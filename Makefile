.PHONY: check lint format test quick coverage docs docs-serve bench gpu

check: lint test

lint:
	ruff format --check .
	ruff check .
	lint-imports
	pyright

format:
	ruff format .
	ruff check --fix .

test:
	pytest

# as a module: its hook in docs/hooks/ is imported from this folder
docs:
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict

docs-serve:
	NO_MKDOCS_2_WARNING=1 python -m mkdocs serve

# the mathematics: less than a minute on two cores. CONTRIBUTING.md says what it covers
QUICK = tests/unit/core tests/unit/losses tests/unit/constraints tests/unit/interventions \
	tests/contracts/test_structure.py tests/contracts/test_comments.py tests/contracts/test_repository.py
quick:
	pytest -n 2 $(QUICK)

# the same tests, with the lines of the mathematics that they execute; the floor is in pyproject.toml
coverage:
	pytest -n 2 --cov --cov-report=term $(QUICK)

# at most eight minutes on one GPU; the results are in $(GPU)
GPU = outputs/gpu
gpu:
	python -m benchmarks.gpu --out $(GPU)

# half an hour with nothing else running; docs/performance.md says what it shows
BENCH = docs/benchmarks
bench:
	python -m benchmarks.train_step --json $(BENCH)/train_step.json
	python -m benchmarks.train_step --keep-for-all --n-latents 16384 --json $(BENCH)/train_step_keep_for_all.json
	python -m benchmarks.growth --json $(BENCH)/growth.json
	python -m benchmarks.memory --json $(BENCH)/memory.json
	python -m benchmarks.end_to_end --json $(BENCH)/end_to_end.json
	python -m benchmarks.harvest --json $(BENCH)/harvest.json
	python -m benchmarks.loading --json $(BENCH)/loading.json
	python -m benchmarks.conversion --json $(BENCH)/conversion.json
	python -m benchmarks.scaling --json $(BENCH)/scaling.json
	python -m benchmarks.document $(BENCH) docs/performance.md
