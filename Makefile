.PHONY: check lint format test bench

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
	python -m benchmarks.scaling --json $(BENCH)/scaling.json
	python -m benchmarks.document $(BENCH) docs/performance.md
