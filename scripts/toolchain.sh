# The toolchain that scripts/check-platforms.sh and packaging/musl.sh source: a compiler with the source
# of its standard library (Debian's rust-web packages) and zig as a C cross compiler (PyPI). Sets $work,
# RUSTC, CARGO, CARGO_TARGET_DIR and PATH. Takes root for apt the first time.
# shellcheck shell=bash

work=${WORK:-/var/tmp/nexudus-proxy-platforms}
mkdir -p "$work"

if ! command -v apt-get >/dev/null; then
  echo "error: this check needs Debian's packages" >&2
  exit 1
fi
install_packages() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

if [ ! -x "$work/toolchain/usr/bin/rustc" ]; then
  apt-get update -qq
  install_packages gcc-mingw-w64-x86-64 python3-venv
  packages=$(apt-get install -s --no-install-recommends rustc-web cargo-web rust-web-src | awk '/^Inst/ {print $2}')
  mkdir -p "$work/debs"
  # shellcheck disable=SC2086
  (cd "$work/debs" && apt-get download -qq $packages rustc-web cargo-web rust-web-src)
  for package in "$work"/debs/*.deb; do dpkg -x "$package" "$work/toolchain"; done
  rm -rf "$work/debs"
fi
# The standard library's own dependencies, so that a build needs no network.
library=$(echo "$work"/toolchain/usr/src/rustc-*/library)
if [ ! -e "$work/fetched" ]; then
  LD_LIBRARY_PATH=$work/toolchain/usr/lib/x86_64-linux-gnu \
    "$work/toolchain/usr/bin/cargo" fetch --quiet --locked --manifest-path "$library/Cargo.toml"
  touch "$work/fetched"
fi
if [ ! -x "$work/venv/bin/cargo-zigbuild" ]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" -q install 'ziglang==0.15.2' 'cargo-zigbuild==0.24.0'
fi

export LD_LIBRARY_PATH=$work/toolchain/usr/lib/x86_64-linux-gnu RUSTC=$work/toolchain/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CARGO=$work/toolchain/usr/bin/cargo CARGO_TARGET_DIR=$work/target PATH=$work/venv/bin:$PATH
unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER || true
