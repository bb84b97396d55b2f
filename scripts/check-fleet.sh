#!/usr/bin/env bash
# Runs what is too slow for every day: many seeds of each simulated fleet, and the faults of real engines
# and of whole fleets that take a minute each (they mount file systems and cut links, in namespaces of
# their own).
#
# usage: scripts/check-fleet.sh [SEEDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-100}

# What `make test` has built serves here too: a package by itself is compiled with other features.
run() { ${CARGO:-cargo} nextest run --workspace --locked --no-fail-fast "$@" || status=1; }

status=0
# Ten seeds a process: the runs share the processors, and none is longer than what the runner allows.
for ((first = 0; first < seeds; first += 10)); do
  count=$((seeds - first < 10 ? seeds - first : 10))
  echo "seeds $first to $((first + count - 1))"
  SHARED_SESSION_FIRST=$first SHARED_SESSION_SEEDS=$count run --success-output immediate \
    --filterset 'binary(promises) & test(/^simulation::a_fleet/)'
done
run --run-ignored only --filterset 'binary(promises) & test(/^engines::(faults|links::a_)/)'
# One after the other: each has sixteen processes of its own, and promises that are measured in seconds.
run --run-ignored all --test-threads 1 --filterset 'binary(fleet_network)'
exit $status
