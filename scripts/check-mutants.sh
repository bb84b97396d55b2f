#!/usr/bin/env bash
# Changes the session's state machine in every way that cargo-mutants knows and runs its tests each
# time: a change that no test notices is an error. Takes some minutes.
#
#   scripts/check-mutants.sh [cargo-mutants' own options]
#
# The machine's files are copied into the small crate tests/mutants: cargo-mutants changes only files
# inside the crate that it builds.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -x target/tools/bin/cargo-mutants ]; then
  echo "installing cargo-mutants (once; some minutes)"
  cargo install --quiet --locked --debug --root target/tools cargo-mutants@27.1.0
fi

work=$PWD/target/mutants
rm -rf "$work"
mkdir -p "$work"
cp -r tests/mutants "$work/crate"
cp -r src/session/state "$work/crate/src/session/state"
# Below target, which git ignores: without the option nothing would be copied.
exec target/tools/bin/cargo-mutants mutants --dir "$work/crate" --output "$work" \
  --file 'src/session/state/**' --gitignore=false --minimum-test-timeout 20 "$@"
