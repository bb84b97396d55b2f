#!/usr/bin/env bash
# Every check and every test, then one plain line: how many passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs one check; it counts as one.
check() {
  local name=$1
  shift
  echo "== $name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; fi
}

# Runs tests and adds up what their runner says.
tests() {
  local name=$1 status
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  local counted
  counted=$(counts <"$log")
  passed=$((passed + ${counted% *}))
  failed=$((failed + ${counted#* }))
  # A runner that failed without a failed test (it did not build, say) is a failure of its own.
  if [ "$status" -ne 0 ] && [ "${counted#* }" -eq 0 ]; then failed=$((failed + 1)); fi
}

# Reads `N passed` and `N failed` from the summaries of cargo test and cargo nextest.
counts() {
  awk '
    /^test result:/ || /^ *Summary \[/ {
      for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed[;,]?$/) passed += $(i - 1)
        if ($i ~ /^failed[;,]?$/ || $i ~ /^timed$/) failed += $(i - 1)
      }
    }
    END { print passed + 0, failed + 0 }'
}

check "formatting" cargo fmt --all --check
check "clippy" cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
check "clippy without default features" \
  cargo clippy --quiet --package nexudus-proxy --all-targets --no-default-features --locked -- -D warnings
check "rustdoc" env RUSTDOCFLAGS="-D warnings" \
  cargo doc --quiet --workspace --no-deps --document-private-items --locked
check "shell scripts" shellcheck --severity=warning scripts/*.sh packaging/*.sh packaging/deb/*
check "one version" packaging/version.sh
check "licences, bans and sources" scripts/supply-chain.sh

# Ignored tests say which target of the Makefile runs them; those of `integration` are run here.
if cargo nextest --version >/dev/null 2>&1; then
  tests "tests" cargo nextest run --workspace --locked --no-fail-fast --status-level fail
  tests "tests in real time" \
    cargo nextest run --workspace --locked --no-fail-fast --status-level fail --run-ignored only \
    --test integration
else
  tests "tests" cargo test --workspace --locked --no-fail-fast --lib --bins --tests
  tests "tests in real time" \
    cargo test --workspace --locked --no-fail-fast --test integration -- --ignored
fi
tests "documentation tests" cargo test --workspace --locked --no-fail-fast --doc

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
