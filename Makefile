# make test          everything that has to pass: lint, types, all tests; needs root or sudo, /dev/fuse and a network
# make quick         lint, types and the quick tests; needs Python only: no root, no /dev/fuse, no npm
# make demo          back up DIR (default: a real tree of this machine), open it as a drive and compare
# make bench         speed and size beside restic, Borg, squashfs and cp, on the same data (ARGS=--quick: a tenth of it;
#                    ARGS=--table: one table of everything; ARGS="--table --rows find,cp --restic FILE")
# make bench-drives  only its part about drives (ARGS="--only cp,find --tools kernel,squashfuse")
# make bench-upkeep  forgetting, pruning and checking beside restic (ARGS="--restic FILE --points 200")
# make bench-browse  the page of `rpdrive browse` (ARGS=--quick; ARGS="--only start,folder,search")
# make bench-scale   how the work grows with a vault, up to twenty million points (ARGS=--quick: a tenth of each size;
#                    ARGS="--directions points,machines --only 'vault info'"); docs/scale.md
# make bench-copy    copying a vault beside rsync (ARGS="--systems ext4,xfs,btrfs --far")
# make siege         the command under faults of every kind, 1,000 rounds (ARGS="--seed 1 --only rollback"; --list)
# make model         the model of pruning: every history of small scenes, and long ones at random (docs/prune-design.md)
# make soak          slow checks that `make test` leaves out; whole machines under QEMU among them: needs root

PYTHON_HERE = .venv/bin/python
DIR ?=
ARGS ?=

.DEFAULT_GOAL = test
.PHONY: test quick lint types tests demo bench bench-drives bench-upkeep bench-browse bench-copy bench-scale model soak siege setup setup-quick setup-demo setup-soak setup-bench clean

# Not in /tmp: a backup of a folder there sees /tmp itself change when another test makes something in it.
FOLDER = @folder=$$(mktemp -d /var/tmp/rpdrive-tests-XXXXXX) && trap 'rm -rf "$$folder"' EXIT && chmod 711 "$$folder"
# A process of the tests that dies is a failure at once: with another in its place, the run would never end.
# Three processes on two cores: half of the time, a test waits for a disk, a drive or a server. Long files come first.
PYTEST = -m pytest -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --basetemp "$$folder/t"
# Files with tests that draw their data.
DRAWN = $(shell grep -rlE "^from hypothesis" tests --include="test_*.py")
QUICK = not slow and not soak and not needs_root and not needs_fuse and not needs_azurite and not needs_program

# One after the other, the quickest first, also under `make -j`.
test: setup
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory tests

quick: setup-quick
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	$(FOLDER) && $(PYTHON_HERE) $(PYTEST) -m "$(QUICK)"

lint: setup-quick
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m ruff format --check .

types: setup-quick
	$(PYTHON_HERE) -m mypy

tests: setup
	@$(PYTHON_HERE) -m coverage erase
	$(FOLDER) && { RPDRIVE_TEST_FAILED="$$folder/failed" $(PYTHON_HERE) -m coverage run $(PYTEST) -m "not soak" \
		|| $(PYTHON_HERE) -m tests.again $$? "$$folder/failed" "$$folder"; }
	@$(PYTHON_HERE) -m coverage combine --quiet
	@echo "Branch coverage, in percent (by file: .venv/bin/python -m coverage report --skip-covered):"
	@$(PYTHON_HERE) -m coverage report --format=total

soak: setup-soak
	$(FOLDER) && $(PYTHON_HERE) -m pytest -m soak --timeout 3600 --basetemp "$$folder/t"
	$(FOLDER) && for n in 1 2 3 4 5 6 7 8 9 10; do \
	    RPDRIVE_TEST_DRAWS=random $(PYTHON_HERE) -m pytest -q -m "$(QUICK)" --basetemp "$$folder/t" $(DRAWN) || exit 1; done

model: setup-quick
	$(PYTHON_HERE) -m tests.model --full $(ARGS)

siege: setup
	$(PYTHON_HERE) -m tests.siege $(ARGS)

demo: setup-demo
	$(PYTHON_HERE) benchmarks/demo.py $(if $(DIR),"$(DIR)")

bench: setup-bench
	$(PYTHON_HERE) benchmarks/bench.py $(ARGS)

bench-drives: setup-bench
	$(PYTHON_HERE) benchmarks/drives.py $(ARGS)

bench-upkeep: setup-bench
	$(PYTHON_HERE) benchmarks/upkeep.py $(ARGS)

bench-browse: setup
	$(PYTHON_HERE) benchmarks/browse.py $(ARGS)

bench-copy: setup
	$(PYTHON_HERE) benchmarks/copies.py $(ARGS)

bench-scale: setup
	$(PYTHON_HERE) benchmarks/scale.py $(ARGS)

setup:
	@tests/setup.sh test

setup-quick:
	@tests/setup.sh quick

setup-demo:
	@tests/setup.sh demo

setup-soak:
	@tests/setup.sh soak

setup-bench:
	@tests/setup.sh bench

clean:
	rm -rf build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +
