#!/usr/bin/env bash
# Installs what packaging/dist.sh runs, once, into target/tools (pinned, from crates.io), and fetches
# the dependencies. With `check` also what the checks of the packages run (Debian packages).
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/target/tools

while read -r crate version features; do
  if ! grep -qs "^\"$crate $version " "$tools/.crates.toml"; then
    echo "installing: $crate $version" >&2
    cargo install --quiet --locked --root "$tools" --features "$features" "$crate@$version"
  fi
done <<END
cargo-about 0.9.3 cli
cargo-auditable 0.7.7
cargo-cyclonedx 0.5.9
cargo-deb 3.8.0
cargo-generate-rpm 0.21.1
END
cargo fetch --locked --quiet
[ "${1:-}" = check ] || exit 0

# command → Debian package
missing=()
while read -r command package; do
  command -v "$command" >/dev/null || missing+=("$package")
done <<END
lintian lintian
rpm rpm
rpmlint rpmlint
runc runc
skopeo skopeo
umoci umoci
END
# The engines' system call filter.
[ -e /usr/share/containers/seccomp.json ] || missing+=(golang-github-containers-common)
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "error: the checks of the packages need: ${missing[*]}" >&2
  echo "hint: Install them with this system's package manager." >&2
  exit 1
fi
echo "installing: ${missing[*]}" >&2
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
