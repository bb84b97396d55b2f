#!/usr/bin/env bash
# Checks every dependency's licence, source and ban list with cargo-deny (deny.toml).
#
# cargo-deny is built once and cached: in $CARGO_HOME/bin like any other cargo tool. Advisories are
# not checked here: their database is fetched from the network at every run, and a test must give
# the same result tomorrow. `cargo deny check advisories` does it by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
  echo "installing cargo-deny (once; some minutes)"
  cargo install --quiet --locked --debug cargo-deny@0.20.2
fi
# Building fetches what this machine needs; the check looks at every target's dependencies.
cargo fetch --quiet --locked
cargo deny --workspace --all-features --offline check licenses bans sources

# Cargo.lock names crates that deny.toml bans and that nothing builds; that must be so on each target.
for banned in ring openssl native-tls keyring; do
  if grep -qx "name = \"$banned\"" Cargo.lock; then
    users=$(cargo tree --quiet --locked --offline --workspace --all-features --target all \
      --edges normal,build,dev --invert "$banned")
    if [ -n "$users" ]; then
      echo "error: $banned is banned, and built:" >&2
      echo "$users" >&2
      exit 1
    fi
  fi
done
