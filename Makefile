# `make test` is what CI runs and what a contributor runs. `cargo test` is the inner loop.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

CARGO ?= cargo
export CARGO_TERM_COLOR ?= never

.PHONY: help test prepare check lint docs site supply-chain tests check-platforms check-mutants check-fleet check-instructions check-clients check-tunnels check-ui check-redaction check-long-run dist check-packages check-reproducible

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: prepare  ## Install what is missing, then run every check and every test
	@scripts/test.sh

prepare:  ## Install what the tests need (Debian packages; elsewhere it says what to install)
	@scripts/prepare.sh

check: lint docs supply-chain  ## Every check that runs no test

lint:  ## Formatting, clippy and shellcheck, warnings denied
	shellcheck --severity=warning scripts/*.sh packaging/*.sh packaging/deb/*
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --package nexudus-proxy --all-targets --no-default-features --locked -- -D warnings

docs:  ## rustdoc, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

site:  ## The documents as a site with search: target/site/html
	@scripts/site.sh

supply-chain:  ## Licences, bans and sources of every dependency
	@scripts/supply-chain.sh

dist:  ## Everything that a release publishes for Linux, into dist/ (minutes; DIST_PROFILE=quick for a try)
	@packaging/tools.sh
	@packaging/dist.sh

check-packages: dist  ## Packages, image and static binary: installed, run, upgraded, removed
	@packaging/tools.sh check
	@scripts/prepare.sh
	$(CARGO) nextest run --workspace --locked --no-fail-fast --run-ignored only --test system \
	  --filterset 'test(/^packages/)'

check-reproducible:  ## Two builds in two directories are the same bytes (minutes)
	@packaging/tools.sh
	@packaging/check-reproducible.sh

check-platforms:  ## What this machine does not run: macOS and Windows types, Wine, musl (minutes)
	@scripts/check-platforms.sh

check-clients:  ## Every program of docs/tools.md under `run`, with its packages and large files (minutes)
	@scripts/clients.sh

check-tunnels:  ## 5,000 idle tunnels through a `run`, the most of a daemon, and their memory (a minute)
	$(CARGO) nextest run --workspace --locked --run-ignored only --no-capture --test cli \
	  --filterset 'test(/^idle_tunnels/)'

check-mutants:  ## Mutation test of the session's state machine: no mutant survives (minutes)
	@scripts/check-mutants.sh

SEEDS ?= 100
check-fleet:  ## Simulated fleets, SEEDS of each plan (default 100), slow faults of real engines, whole fleets (an hour)
	@scripts/check-fleet.sh $(SEEDS)

check-ui:  ## The page of `ui` in a real Chromium, and attacks on it (minutes)
	@scripts/check-ui.sh

PROGRAM ?= target/release/nexudus-proxy
check-redaction:  ## The memory of PROGRAM (default: a release build) while a redacted answer of 500 MB is read (minutes)
	benches/long_answer.py $(PROGRAM)

check-long-run:  ## Ten million requests to PROGRAM: memory, descriptors and cost stay where they are (minutes)
	benches/long_run.py $(PROGRAM)

BASE ?= main
check-instructions:  ## Instructions per request beside BASE (default main): at most 3 % more (minutes)
	@scripts/check-instructions.sh $(BASE)
