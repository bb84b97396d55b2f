#!/usr/bin/env bash
# Logs in, serves, answers, stops and logs out with the Windows build under Wine: the Credential Manager
# is Wine's own, the API is the simulator (also the Windows build). Needs root, for a mount that
# no other process sees.
#
#   scripts/wine-login.sh DIRECTORY_OF_THE_EXES WORK
set -euo pipefail
# No other process sees the mounts below, and they end with this script.
[ -n "${APART:-}" ] || APART=1 exec unshare --mount "$0" "$@"
exes=$1
work=$2
export WINEPREFIX=$work/wine WINEDEBUG=-all
export LD_LIBRARY_PATH=
unset DISPLAY || true

# Debian 12's Wine 8.0 lacks bcryptprimitives.dll, of which std imports ProcessPrng.
cat >"$work/prng.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T left) {
  while (left) {
    ULONG some = left > 65536 ? 65536 : (ULONG)left;
    if (!SystemFunction036(bytes, some)) return FALSE;
    bytes += some;
    left -= some;
  }
  return TRUE;
}
C
x86_64-w64-mingw32-gcc -O2 -shared -o "$exes/bcryptprimitives.dll" "$work/prng.c" -ladvapi32

# Wine's TLS policy also rejects a certificate that names no address for a check of revocation.
# Windows calls the provider that is registered for the check; the one here rejects nothing.
cat >"$work/revocation.c" <<'C'
#include <windows.h>
#include <wincrypt.h>
__declspec(dllexport) BOOL WINAPI CertDllVerifyRevocation(DWORD encoding, DWORD kind, DWORD count,
    PVOID *contexts, DWORD flags, PCERT_REVOCATION_PARA para, PCERT_REVOCATION_STATUS status) {
  return TRUE;
}
C
x86_64-w64-mingw32-gcc -O2 -shared -o "$exes/revocation.dll" "$work/revocation.c"
wine reg add 'HKLM\Software\Microsoft\Cryptography\OID\EncodingType 1\CertDllVerifyRevocation\DEFAULT' \
  /v Dll /t REG_MULTI_SZ /d revocation.dll /f >/dev/null

home=$(mktemp -d "$work/home.XXXXXX")
trap 'kill "$simulator" ${daemon:-} 2>/dev/null || true; rm -rf "$home"' EXIT
wine "$exes/nexudus-simulator.exe" --listen 127.0.0.1:7643 --control off --quiet \
  --ca-out "Z:$home/ca.pem" </dev/null >/dev/null 2>&1 &
simulator=$!
for _ in $(seq 600); do [ -s "$home/ca.pem" ] && break; sleep 0.1; done

# Wine 8 refuses the chain engine that upstream.ca_file needs, of the size it has since Windows 8.
# But it takes over the authorities of the machine that it runs on: here, and nowhere else, the
# simulator's is one.
bundle=/etc/ssl/certs/ca-certificates.crt
cat "$bundle" "$home/ca.pem" >"$home/bundle.pem"
mount --bind "$home/bundle.pem" "$bundle"

printf '[upstream]\norigin = "https://localhost:7643"\n[listen]\ntcp = ["127.0.0.1:7644"]\n' >"$home/config.toml"
proxy() { timeout 120 wine "$exes/nexudus-proxy.exe" --config "Z:$home/config.toml" "$@"; }
must() {
  local said
  said=$(cat)
  grep -- "$1" <<<"$said" || { printf '%s\nerror: expected: %s\n' "$said" "$1" >&2; exit 1; }
}

printf 'demo-password\n' | proxy login --email ada@example.test --password-stdin | must '^logged in as Ada Example'
proxy whoami --json </dev/null | must '"DefaultBusinessId": 1400000010'
proxy doctor </dev/null | must 'Windows Credential Manager: an entry was written, read on another connection and deleted'

# A daemon, and the commands that reach it through its pipe.
answers() {
  for _ in $(seq 300); do
    curl -fsS http://127.0.0.1:7644/api/auth/me 2>/dev/null | grep -q ada@example.test && return
    sleep 0.1
  done
  echo "error: the daemon gives no answer" >&2
  exit 1
}
ends() {
  code=0
  wait "$daemon" || code=$?
  [ "$code" -eq 0 ] || { echo "error: the daemon exits with $code" >&2; exit 1; }
}
timeout 300 wine "$exes/nexudus-proxy.exe" --config "Z:$home/config.toml" serve </dev/null >/dev/null 2>&1 &
daemon=$!
answers
proxy status --json </dev/null | must '"state": "ready"'
proxy wait --timeout 10s </dev/null
proxy reload </dev/null | must '^reloaded'
proxy lock </dev/null | must '^locked'
[ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:7644/api/auth/me)" = 423 ]
proxy unlock </dev/null | must '^unlocked'
proxy doctor </dev/null | must 'one serves the profile default'
proxy --version --json </dev/null | must '"target": "x86_64-pc-windows-gnu"'
proxy stop </dev/null | must '^stopped'
ends
code=0
proxy status </dev/null >/dev/null 2>&1 || code=$?
[ "$code" -eq 6 ] || { echo "error: status without a daemon: exit $code, not 6" >&2; exit 1; }

# The scheduled task: Wine reads and registers it, and runs none. So its command is started here.
proxy service install </dev/null | must '^ran schtasks /Create'
task=$(echo "$WINEPREFIX"/drive_c/windows/system32/tasks/nexudus-proxy-*)
[ -s "$task" ]
state=$(echo "$WINEPREFIX"/drive_c/users/*/AppData/Local/nexudus-proxy)
of_task() {
  python3 -c 'import sys, xml.etree.ElementTree as tree
task = tree.fromstring(open(sys.argv[1], "rb").read())
print(next(element.text for element in task.iter() if element.tag.endswith("}" + sys.argv[2])))' "$state/task.xml" "$1"
}
of_task Command | must 'nexudus-proxy-task.exe$'
printf '@"%s" %s\r\n' "$(of_task Command)" "$(of_task Arguments)" >"$home/task.bat"
timeout 300 wine cmd /c "Z:$home/task.bat" </dev/null >/dev/null 2>&1 &
daemon=$!
answers
proxy service status </dev/null | must '^service  active, process'
must 'listening' <"$state/service.log"
proxy service stop </dev/null | must '^stopped the daemon'
ends
proxy service uninstall </dev/null | must '^ran schtasks /Delete'
[ ! -e "$task" ] || { echo "error: the task is still there" >&2; exit 1; }

proxy logout </dev/null | must '^logged out'
code=0
proxy whoami </dev/null >/dev/null 2>&1 || code=$?
[ "$code" -eq 3 ] || { echo "error: whoami after logout: exit $code, not 3" >&2; exit 1; }
