#!/usr/bin/env bash
# Builds the static binary: packaging/musl.sh FILE [TARGET], the musl target of this machine without one.
#
# Uses rustup's target if it is installed. Otherwise, on Debian, the standard library is built from
# the source in the rust-web packages, with the C compiler of PyPI's ziglang (scripts/toolchain.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
file=$1
target=${2:-$(uname -m)-unknown-linux-musl}
flags=(--quiet --release --locked --offline --package nexudus-proxy --target "$target")

if rustup target list --installed 2>/dev/null | grep -qx "$target"; then
  export CARGO_TARGET_DIR=target/dist/musl
  build=(cargo build)
else
  # shellcheck source=scripts/toolchain.sh disable=SC1091
  . scripts/toolchain.sh
  export CARGO_TARGET_DIR=$PWD/target/dist/musl
  # shellcheck disable=SC2154 # `work` is set there
  export RUSTFLAGS="-C link-self-contained=no --remap-path-prefix=$work=/toolchain ${RUSTFLAGS:-}"
  # Not `cargo zigbuild`: that is rustup's cargo, and says so to what it starts.
  build=(cargo-zigbuild zigbuild "-Zbuild-std=std,panic_abort")
fi
# After the toolchain, which knows no wrapper.
# shellcheck source=packaging/auditable.sh disable=SC1091
. packaging/auditable.sh
"${build[@]}" "${flags[@]}"
install -m755 "$CARGO_TARGET_DIR/$target/release/nexudus-proxy" "$file"
