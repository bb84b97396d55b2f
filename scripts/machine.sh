#!/usr/bin/env bash
# Makes the root directory of the machine that tests/system boots: Debian with systemd, a real
# gnome-keyring and three users. Once; later runs find it. Needs root.
#
#   scripts/machine.sh            SUITE=trixie scripts/machine.sh    another Debian
#
# The tests run this machine's own build inside, so that its C library must not be older: on Debian
# it is the same release, elsewhere the newest.
set -euo pipefail

root=/var/cache/nexudus-proxy-tests/machine
release=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}" || true)
suite=${SUITE:-${release:-trixie}}
packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,gnome-keyring,libglib2.0-bin,curl
made="$suite $packages $(sha256sum "$0" | cut -d' ' -f1)"

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9
[ "$(cat "$root.made" 2>/dev/null)" = "$made" ] && exit 0
echo "making the machine that the tests boot ($suite; once, some minutes)"
part=$(mktemp -d "$root.XXXXXX")
trap 'rm -rf --one-file-system "$part"' EXIT
mmdebstrap --quiet --variant=minbase --include="$packages" \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --format=directory "$suite" "$part/tree"
# Each boot is a machine of its own.
: >"$part/tree/etc/machine-id"
echo '127.0.0.1 localhost' >"$part/tree/etc/hosts"
echo '::1 localhost' >>"$part/tree/etc/hosts"
for user in alice:1000 bob:1001 carol:1002; do
  chroot "$part/tree" useradd -m -u "${user#*:}" "${user%:*}"
done
# alice's own services run without her being logged in.
install -d "$part/tree/var/lib/systemd/linger"
: >"$part/tree/var/lib/systemd/linger/alice"
rm -rf --one-file-system "$root"
mv "$part/tree" "$root"
echo "$made" >"$root.made"
