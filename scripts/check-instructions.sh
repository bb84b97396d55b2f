#!/usr/bin/env bash
# Builds a base commit and the head as they are released, and compares the instructions that each
# takes for a request (benches/instructions.py): more than 3 % is an error. Takes two release builds
# the first time, one for each new commit afterwards, and a minute of valgrind.
#
#   scripts/check-instructions.sh [BASE]     # default: where this branch left main
#
# Only what is committed is built, each commit in a folder of its own below target/.
set -euo pipefail
cd "$(dirname "$0")/.."

head=$(git rev-parse HEAD)
base=$(git rev-parse --verify --quiet "${1:-main}^{commit}" || git rev-parse --verify "${1:-origin/main}^{commit}")
base=$(git merge-base "$base" "$head")
if [ "$base" = "$head" ]; then
  base=$(git rev-parse "$head^")
fi

for tool in valgrind nginx openssl nm; do
  command -v "$tool" > /dev/null || { echo "error: $tool is missing (Debian: valgrind nginx-light openssl binutils)" >&2; exit 1; }
done

work=$PWD/target/instructions
mkdir -p "$work"
build() {
  local commit=$1 source=$work/source
  if [ ! -x "$work/$commit" ]; then
    echo "building $(git log --max-count=1 --format='%h %s' "$commit")" >&2
    rm -rf "$source"
    mkdir "$source"
    git archive "$commit" | tar --extract --directory "$source"
    # With symbols, so that AWS-LC can be told from the rest.
    CARGO_TARGET_DIR=$work/build CARGO_PROFILE_RELEASE_STRIP=none \
      cargo build --quiet --release --locked --bin nexudus-proxy --manifest-path "$source/Cargo.toml"
    mv "$work/build/release/nexudus-proxy" "$work/$commit"
    rm -rf "$source"
  fi
}
build "$base"
build "$head"

archives=()
while IFS= read -r archive; do
  archives+=(--left-out "$archive")
done < <(find "$work/build/release/build" -name 'libaws_lc*_crypto.a')
if [ ${#archives[@]} -eq 0 ]; then
  echo "error: no library of AWS-LC below $work/build: remove $work and try again" >&2
  exit 1
fi
exec benches/instructions.py "$work/$base" "$work/$head" "${archives[@]}"
