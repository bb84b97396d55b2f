#!/usr/bin/env bash
# Logs in, asks who it is, and logs out with the Windows build under Wine: the Credential Manager
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
trap 'kill "$simulator" 2>/dev/null || true; rm -rf "$home"' EXIT
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

printf '[upstream]\norigin = "https://localhost:7643"\n' >"$home/config.toml"
proxy() { timeout 120 wine "$exes/nexudus-proxy.exe" --config "Z:$home/config.toml" "$@"; }
must() {
  local said
  said=$(cat)
  grep -- "$1" <<<"$said" || { printf '%s\nerror: expected: %s\n' "$said" "$1" >&2; exit 1; }
}

printf 'demo-password\n' | proxy login --email ada@example.test --password-stdin | must '^logged in as Ada Example'
proxy whoami --json </dev/null | must '"DefaultBusinessId": 1400000010'
proxy doctor </dev/null | must 'Windows Credential Manager: an entry was written, read on another connection and deleted'
proxy logout </dev/null | must '^logged out'
code=0
proxy whoami </dev/null >/dev/null 2>&1 || code=$?
[ "$code" -eq 3 ] || { echo "error: whoami after logout: exit $code, not 3" >&2; exit 1; }
