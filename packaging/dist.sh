#!/usr/bin/env bash
# Builds what a release publishes for Linux, into dist/: packaging/dist.sh [PART…], all without one.
#
#   gnu        the binary for the packages
#   musl       the static binary for the archive and the image
#   assets     manual page, completions, units, licences of the dependencies
#   archive    nexudus-proxy-VERSION-TARGET.tar.gz
#   deb, rpm   packages for Debian and Ubuntu; for Fedora, RHEL and SUSE
#   image      a container image, as an archive of an OCI layout
#   sbom       a CycloneDX list of the dependencies, and their licences
#   sums       SHA256SUMS of all files in dist/
#
# Offline after packaging/tools.sh. The same commit gives the same bytes in every directory: times
# are the commit's, paths are mapped, archives are sorted. DIST_PROFILE=quick builds in a fraction of
# the time, for work on these scripts; nothing of it is for publication.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=${*:-gnu musl assets archive deb rpm image sbom sums}
version=$(packaging/version.sh)
revision=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022
machine=$(uname -m)
case $machine in
  x86_64) image_machine=amd64 ;;
  aarch64) image_machine=arm64 ;;
  *) image_machine=$machine ;;
esac
out=$PWD/dist
# Cargo.toml names the files below it.
stage=$PWD/target/dist/stage
export PATH=$PWD/target/tools/bin:$PATH
# shellcheck source=packaging/auditable.sh disable=SC1091
. packaging/auditable.sh
mkdir -p "$out" "$stage"

# Maps this machine's paths away, in Rust and in AWS-LC's C.
home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$PWD=/build --remap-path-prefix=$home=/cargo ${RUSTFLAGS:-}"
export CFLAGS="-ffile-prefix-map=$PWD=/build -ffile-prefix-map=$home=/cargo ${CFLAGS:-}"
case ${DIST_PROFILE:-release} in
  release) ;;
  quick)
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
    ;;
  *)
    echo "error: unknown DIST_PROFILE: $DIST_PROFILE" >&2
    exit 2
    ;;
esac

say() { printf '== %-40s %4ss\n' "$1" "$SECONDS" >&2; }

gnu() {
  CARGO_TARGET_DIR=target/dist/gnu cargo build --quiet --release --locked --offline \
    --package nexudus-proxy
  install -m755 target/dist/gnu/release/nexudus-proxy "$stage/nexudus-proxy"
  say "glibc binary"
}

musl() {
  packaging/musl.sh "$stage/nexudus-proxy-static"
  say "static binary"
}

# Makes what stands beside the binary in every package; most of it the binary itself prints.
assets() {
  local binary=$stage/nexudus-proxy shell scope unit
  rm -rf "$stage/assets"
  mkdir -p "$stage"/assets/{completions,systemd/system,systemd/user}
  "$binary" man | gzip -9n >"$stage/assets/nexudus-proxy.1.gz"
  for shell in bash zsh fish elvish powershell; do
    "$binary" completions "$shell" >"$stage/assets/completions/nexudus-proxy.$shell"
  done
  for unit in systemd/{.,user}/nexudus-proxy{.service,.socket,-admin.socket}; do
    scope=system
    [[ $unit != */user/* ]] || scope=user
    # Byte for byte what `service install` would write for this path; comments stay as they are.
    sed '/^#/!s#/usr/local/bin/nexudus-proxy#/usr/bin/nexudus-proxy#g' "$unit" \
      >"$stage/assets/systemd/$scope/${unit##*/}"
  done
  cargo about generate --locked --offline --config packaging/about.toml --fail \
    packaging/about.hbs --output-file "$stage/assets/THIRD-PARTY.html"
  install -m644 README.md CHANGELOG.md SECURITY.md LICENSE config/example.toml "$stage/assets"
  install -m644 packaging/config.toml "$stage/assets"
  {
    printf 'nexudus-proxy (%s-1) unstable; urgency=medium\n\n  * CHANGELOG.md has the changes.\n\n' "$version"
    printf ' -- The nexudus-proxy authors <nexudus-proxy@users.noreply.github.com>  %s\n' \
      "$(date --rfc-email --date="@$SOURCE_DATE_EPOCH")"
  } >"$stage/assets/changelog.Debian"
  # rpm stores the times of the files.
  find "$stage/assets" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
  say "manual page, completions, units, licences"
}

archive() {
  local name=nexudus-proxy-$version-$machine-unknown-linux-musl
  local root=$stage/$name
  rm -rf "$root"
  mkdir -p "$root"
  install -m755 "$stage/nexudus-proxy-static" "$root/nexudus-proxy"
  install -m644 "$stage"/assets/{README.md,CHANGELOG.md,LICENSE,SECURITY.md,example.toml} \
    "$stage/assets/THIRD-PARTY.html" "$root"
  gzip -dc "$stage/assets/nexudus-proxy.1.gz" >"$root/nexudus-proxy.1"
  cp -r "$stage/assets/completions" systemd "$root"
  pack "$stage" "$name" | gzip -9n >"$out/$name.tar.gz"
  say "archive"
}

# Writes a directory as an archive that depends on its files' names and bytes alone.
pack() {
  tar --create --directory "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner --mode=u=rwX,go=rX --format=gnu "$2"
}

deb() {
  cargo deb --quiet --no-build --no-strip --locked --offline --package nexudus-proxy --output "$out"
  say "deb"
}

rpm() {
  touch --date="@$SOURCE_DATE_EPOCH" "$stage/nexudus-proxy"
  cargo generate-rpm --source-date "$SOURCE_DATE_EPOCH" --output "$out"
  say "rpm"
}

image() {
  rm -rf "$stage/image"
  packaging/image.py --binary "$stage/nexudus-proxy-static" --version "$version" \
    --revision "$revision" --epoch "$SOURCE_DATE_EPOCH" --architecture "$image_machine" \
    --licences "$stage/assets/THIRD-PARTY.html" --out "$stage/image" >&2
  pack "$stage/image" . >"$out/nexudus-proxy-$version-$image_machine.oci.tar"
  say "image"
}

sbom() {
  # cargo-cyclonedx writes beside each manifest, and takes no other place.
  cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename dist.cdx
  packaging/stable_sbom.py dist.cdx.json "$out/nexudus-proxy-$version.cdx.json"
  rm -f dist.cdx.json ./*/dist.cdx.json
  install -m644 "$stage/assets/THIRD-PARTY.html" "$out"
  say "SBOM"
}

sums() {
  rm -f "$out/SHA256SUMS"
  (cd "$out" && sha256sum -- *) >"$stage/SHA256SUMS"
  install -m644 "$stage/SHA256SUMS" "$out"
  ls -l "$out" >&2
}

for part in $parts; do
  case $part in
    gnu | musl | assets | archive | deb | rpm | image | sbom | sums) "$part" ;;
    *)
      echo "error: unknown part: $part" >&2
      exit 2
      ;;
  esac
done
