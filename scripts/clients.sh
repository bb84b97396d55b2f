#!/usr/bin/env bash
# Every program of the table in docs/tools.md under `run`, with downloads of 200 MB, and the agents of
# docs/agents.md: installs the large packages (R through apt, Node's through npm, into target/clients), then
# runs all tests of tests/clients.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/prepare.sh
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if ! Rscript -e 'library(httr)' >/dev/null 2>&1; then
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends r-base-core r-cran-httr >/dev/null
fi
mkdir -p target/clients
cp tests/clients/package.json target/clients/
(cd target/clients && npm install --no-audit --no-fund --loglevel=error)

# Programs that are no clients of Nexudus, and read variables of their own.
mkdir -p target/programs
(cd target/programs && npm install --no-audit --no-fund --loglevel=error deno@2.9.6)
/usr/bin/python3 -m pip install --quiet --disable-pip-version-check --target target/programs/python --upgrade boto3

cargo nextest run --workspace --locked --no-fail-fast --run-ignored only --test cli \
  --filterset 'test(/^run_real_programs/)'
CLIENTS_DOWNLOAD=${CLIENTS_DOWNLOAD:-200000000} cargo nextest run --profile large-downloads --workspace \
  --locked --no-fail-fast --status-level pass --run-ignored all --test clients
