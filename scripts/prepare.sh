#!/usr/bin/env bash
# Installs what the tests need where it is missing: Debian packages through apt. Elsewhere it says
# what to install and fails, since a test that cannot run must not look like one that passed.
set -euo pipefail

# command → Debian package
needed=(
  "curl curl"
  "python3 python3"
  "gcc gcc"
  "chromium chromium"
  "setpriv util-linux"
  "perl perl"
  "dbus-daemon dbus-daemon"
  "gnome-keyring-daemon gnome-keyring"
  "gdbus libglib2.0-bin"
)

missing=()
for pair in "${needed[@]}"; do
  read -r command package <<<"$pair"
  command -v "$command" >/dev/null || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "error: the tests need: ${missing[*]}" >&2
  echo "hint: Install them with this system's package manager." >&2
  exit 1
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
