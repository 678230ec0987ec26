# `make` says what there is. Everything that is installed or built goes below target/.

SHELL := bash
CARGO ?= cargo
FUZZ_SECONDS ?= 60
export FUZZ_SECONDS

.DEFAULT_GOAL := help
.PHONY: help test rig bench check fuzz demo

help: ## Say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

test: rig ## Run every test, those against real servers included; STRICT=1 fails where a test had to be skipped
	@rm -f target/skipped-tests
	$(CARGO) test --locked --workspace
	@if [ -s target/skipped-tests ]; then \
		echo; echo "Skipped on this machine:"; sort -u target/skipped-tests | sed 's/^/  /'; \
	fi

rig: ## Install the servers and clients of the live tests into target/rig
	@tests/rig/setup.sh

bench: ## Measure; results are printed
	$(CARGO) bench --locked --bench cached_token

check: ## Formatting, lints, documentation and dependencies, as a change must pass them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features
	@tests/rig/deny.sh

fuzz: ## Run each fuzz target for FUZZ_SECONDS (60)
	@fuzz/run.sh

demo: ## Start a daemon with everything embedded, and show what it does
	$(CARGO) run --locked --quiet -- demo
