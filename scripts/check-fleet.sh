#!/usr/bin/env bash
# Runs what is too slow for every day: many seeds of each simulated fleet, and the faults of real engines
# and of whole fleets that take a minute each (they mount file systems and cut links, in namespaces of
# their own).
#
# usage: scripts/check-fleet.sh [SEEDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-100}

# Ten seeds a process: the runs share the processors, and none is longer than what the runner allows.
status=0
for ((first = 0; first < seeds; first += 10)); do
  count=$((seeds - first < 10 ? seeds - first : 10))
  echo "seeds $first to $((first + count - 1))"
  SHARED_SESSION_FIRST=$first SHARED_SESSION_SEEDS=$count ${CARGO:-cargo} nextest run \
    --package shared-session --locked --no-fail-fast --success-output immediate --test promises \
    --filterset 'test(/^simulation::a_fleet/)' || status=1
done
${CARGO:-cargo} nextest run --package shared-session --locked --no-fail-fast --test promises \
  --run-ignored only --filterset 'test(/^engines::(faults|links::a_)/)' || status=1
# One after the other: each has sixteen processes of its own, and promises that are measured in seconds.
${CARGO:-cargo} nextest run --package nexudus-proxy --locked --no-fail-fast --test fleet_network \
  --run-ignored all --test-threads 1 || status=1
exit $status
