# Lets cargo-auditable wrap rustc, so that each binary carries the list of its dependencies. Sourced, with
# cargo-auditable in PATH.
#
# `cargo auditable build` would make itself the wrapper of the workspace alone. Cargo hashes the path of that
# wrapper into the names of the workspace's symbols, and so into their order in the binary: the same commit
# in two directories gave two binaries. The path of a wrapper of all crates is not hashed.
# shellcheck shell=bash
RUSTC_WRAPPER=$(command -v cargo-auditable)
# What `cargo auditable build --locked --offline` would hand on.
# shellcheck disable=SC2089 # the quotation marks are JSON's
CARGO_AUDITABLE_ORIG_ARGS='{"offline":true,"locked":true,"frozen":false,"config":[]}'
export RUSTC_WRAPPER
# shellcheck disable=SC2090
export CARGO_AUDITABLE_ORIG_ARGS
