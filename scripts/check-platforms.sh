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
work=${WORK:-/var/tmp/nexudus-proxy-platforms}
mkdir -p "$work"
say() { printf '== %-46s %4ss\n' "$1" "$SECONDS"; }

if ! command -v apt-get >/dev/null; then
  echo "error: this check needs Debian's packages" >&2
  exit 1
fi
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

if [ ! -x "$work/toolchain/usr/bin/rustc" ]; then
  apt-get update -qq
  install gcc-mingw-w64-x86-64 python3-venv
  packages=$(apt-get install -s --no-install-recommends rustc-web cargo-web rust-web-src | awk '/^Inst/ {print $2}')
  mkdir -p "$work/debs"
  # shellcheck disable=SC2086
  (cd "$work/debs" && apt-get download -qq $packages rustc-web cargo-web rust-web-src)
  for package in "$work"/debs/*.deb; do dpkg -x "$package" "$work/toolchain"; done
  rm -rf "$work/debs"
fi
if [ ! -x "$work/venv/bin/cargo-zigbuild" ]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" -q install 'ziglang==0.15.2' 'cargo-zigbuild==0.24.0'
fi

export LD_LIBRARY_PATH=$work/toolchain/usr/lib/x86_64-linux-gnu RUSTC=$work/toolchain/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CARGO=$work/toolchain/usr/bin/cargo CARGO_TARGET_DIR=$work/target PATH=$work/venv/bin:$PATH
unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER || true
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
      # shellcheck disable=SC2086
      RUSTFLAGS="-C link-self-contained=no" CARGO_TARGET_DIR=$CARGO_TARGET_DIR/musl \
        cargo-zigbuild zigbuild -q --release $std --target x86_64-unknown-linux-musl
      LD_LIBRARY_PATH= "$CARGO_TARGET_DIR/musl/x86_64-unknown-linux-musl/release/nexudus-proxy" --version
      say "a static musl binary runs"
      ;;
    wine)
      command -v wine >/dev/null || install wine wine64
      # shellcheck disable=SC2086
      "$CARGO" build -q --workspace $std --target x86_64-pc-windows-gnu
      scripts/wine-login.sh "$CARGO_TARGET_DIR/x86_64-pc-windows-gnu/debug" "$work"
      say "login, whoami and logout under $(LD_LIBRARY_PATH= wine --version)"
      ;;
    *)
      echo "error: unknown platform: $platform" >&2
      exit 2
      ;;
  esac
done
cd "$project"
