#!/usr/bin/env bash
# The page of `ui` in a real Chromium: every view, and what other pages can do to it. The browser is
# Debian's; what steers it comes from npm, in the versions of tests/ui/package-lock.json.
# CHECK_UI_SECONDS sets the length of the load (default 20), UPDATE_SCREENSHOTS=1 renews the pictures of docs/.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/ui-tools
mkdir -p "$tools"
if ! cmp -s tests/ui/package-lock.json "$tools/package-lock.json" || [ ! -d "$tools/node_modules" ]; then
  cp tests/ui/package.json tests/ui/package-lock.json "$tools/"
  npm ci --ignore-scripts --no-audit --no-fund --silent --prefix "$tools"
fi
cargo build --quiet --locked --workspace
# The shell finds the files: Node 20 takes no pattern.
files=(tests/ui/*.test.mjs)
[ $# -eq 0 ] || files=("tests/ui/$1.test.mjs")
UI_TOOLS=$PWD/$tools exec node --test --test-concurrency=1 "${files[@]}"
