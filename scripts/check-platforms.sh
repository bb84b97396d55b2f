#!/usr/bin/env bash
# Checks what this machine does not run: types for macOS and Windows, the Windows build under Wine
# against the simulator with the real Credential Manager API, a static musl binary.
#
#   scripts/check-platforms.sh [darwin] [windows] [musl] [wine]     all of them without arguments
#
# Takes minutes. Needs root for apt, on Debian. rustup's own targets are not needed: Debian's
# rust-web packages carry the source of the standard library, which is built from there.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
wanted=${*:-darwin windows musl wine}
say() { printf '== %-46s %4ss\n' "$1" "$SECONDS"; }

[[ " $wanted " != *" musl "* ]] || packaging/tools.sh
# shellcheck source=scripts/toolchain.sh disable=SC1091
. scripts/toolchain.sh
std="-Zbuild-std=std,panic_abort"
say "toolchain: $($RUSTC -V)"

for platform in $wanted; do
  case $platform in
    darwin)
      # shellcheck disable=SC2086
      cargo-zigbuild check -q $std --target aarch64-apple-darwin
      say "types for aarch64-apple-darwin"
      ;;
    windows)
      # shellcheck disable=SC2086
      "$CARGO" check -q $std --target x86_64-pc-windows-gnu
      say "types for x86_64-pc-windows-gnu"
      ;;
    musl)
      PATH=$project/target/tools/bin:$PATH packaging/musl.sh "$work/nexudus-proxy-static"
      LD_LIBRARY_PATH='' "$work/nexudus-proxy-static" --version
      say "a static musl binary runs"
      ;;
    wine)
      command -v wine >/dev/null || install_packages wine wine64
      # shellcheck disable=SC2086
      "$CARGO" build -q --workspace $std --target x86_64-pc-windows-gnu
      scripts/wine-login.sh "$CARGO_TARGET_DIR/x86_64-pc-windows-gnu/debug" "$work"
      say "login, whoami and logout under $(LD_LIBRARY_PATH='' wine --version)"
      ;;
    *)
      echo "error: unknown platform: $platform" >&2
      exit 2
      ;;
  esac
done
cd "$project"
