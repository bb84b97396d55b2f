#!/usr/bin/env bash
# Lets libFuzzer look for bytes that break what fuzz/stage/mod.rs, fuzz/policy/mod.rs,
# h1/tests/fuzzed/mod.rs, ca/tests/fuzzed/mod.rs, fleet/tests/fuzzed/mod.rs and
# redactor/tests/fuzzed/mod.rs assert. Needs a C++ compiler.
#
# usage: scripts/fuzz.sh TARGET [SECONDS [libFuzzer's own options]]     (targets: request, answer, h1, policy, ca, fleet, redactor)
#
# On the stable toolchain: what cargo-fuzz asks a nightly one for is an address sanitizer, and there
# is no unsafe code here for it to watch. `cargo +nightly fuzz run TARGET` works as well.
set -euo pipefail
target=${1:?which target: request, answer, h1, policy, ca, fleet or redactor?}
seconds=${2:-600}
shift $(($# > 2 ? 2 : $#))
cd "$(dirname "$0")/../fuzz"

# Both read a response, so that they share their seeds.
seeds=$target
if [ "$target" = h1 ]; then seeds=answer; fi

# A part by itself is built without the program.
feature=$target
case $target in request | answer | policy) feature=program ;; esac

triple=$(rustc -vV | sed -n 's/^host: //p')
flags=(
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  --cfg=fuzzing
)
# With a target of its own, so that build scripts and macros are not instrumented.
RUSTFLAGS="${flags[*]}" cargo build --release --locked --target "$triple" --no-default-features --features "$feature" --bin "$target"

mkdir -p "corpus/$target" "artifacts/$target"
exec "${CARGO_TARGET_DIR:-target}/$triple/release/$target" "corpus/$target" "seeds/$seeds" \
  -dict=http.dict -max_len=4096 -timeout=60 -max_total_time="$seconds" \
  -artifact_prefix="artifacts/$target/" "$@"
