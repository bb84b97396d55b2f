#!/usr/bin/env bash
# Prints the version, which is the same everywhere or an error: Cargo.toml (once for the workspace),
# Cargo.lock, and at a tagged commit the tag and the newest heading of CHANGELOG.md.
#
#   packaging/version.sh [TAG]     TAG instead of the commit's tag, such as v0.1.0
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
tag=${1-$(git tag --points-at HEAD --list 'v[0-9]*' 2>/dev/null | head -n1)}

# NAME VALUE: fails unless the value is the version.
same() {
  if [ "$2" != "$version" ]; then
    echo "error: the version is $version in Cargo.toml, and ${2:-none} in $1" >&2
    exit 1
  fi
}

members=$(sed -n 's/^members = \[\(.*\)\]$/\1/p' Cargo.toml | tr -d '",')
for member in . $members; do
  package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$member/Cargo.toml" | head -n1)
  same "Cargo.lock ($package)" \
    "$(sed -n "/^name = \"$package\"\$/{n;s/version = \"\(.*\)\"/\1/p}" Cargo.lock)"
done
# Between two releases the changes stand under Unreleased.
if [ -n "$tag" ]; then
  same "the tag $tag" "${tag#v}"
  same "CHANGELOG.md" "$(sed -n 's/^## \[\([0-9][^]]*\)\].*/\1/p' CHANGELOG.md | head -n1)"
fi
echo "$version"
