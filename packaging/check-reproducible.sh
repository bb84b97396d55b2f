#!/usr/bin/env bash
# Builds the current commit in two new directories, and compares every artefact byte by byte.
#
#   packaging/check-reproducible.sh [PART…]     the parts of packaging/dist.sh, all without one
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
scratch=$(mktemp -d /var/tmp/nexudus-proxy-twice.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
# Names of different length: a path in a binary would also move what stands behind it.
for directory in "$scratch/one" "$scratch/another-place"; do
  git clone --quiet --no-hardlinks . "$directory"
  mkdir -p "$directory/target/tools"
  # Not a link: the tools' path differs too between two machines.
  cp -r "$tools/bin" "$directory/target/tools/"
  "$directory/packaging/dist.sh" "$@"
done
cd "$scratch"
failed=0
count=0
for file in one/dist/* one/target/dist/stage/nexudus-proxy{,-static}; do
  [ -f "$file" ] || continue
  count=$((count + 1))
  if ! cmp "$file" "another-place/${file#one/}"; then failed=1; fi
done
echo "$count files compared"
exit "$failed"
