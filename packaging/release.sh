#!/usr/bin/env bash
# The steps of .github/workflows/release.yml that are more than one command; each runs by hand too.
#
#   release.sh archive TARGET DIRECTORY   packs what was built there for macOS or Windows, into dist/
#   release.sh render DIST                writes the source archive, the formula and the install script
#   release.sh join PARTS DIST            puts the files of all machines together, with render and sums
#   release.sh push-image DIST IMAGE      pushes the images as one, without a tag; prints digest=sha256:…
#   release.sh notes IMAGE                the changelog's part of this version, and how to check files
#   release.sh smoke DOWNLOADED           installs and runs what a user of this machine would download
#   release.sh smoke-image IMAGE          runs the image
#   release.sh tag-image IMAGE            names the image by its version, and `latest`
#   release.sh tap DIST                   proposes the formula to the tap
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(packaging/version.sh)

# RUN=wine: how this machine runs a program that was built for Windows.
archive() {
  local target=$1 built=$2 name=nexudus-proxy-$version-$1 program=nexudus-proxy
  [[ $target != *windows* ]] || program=nexudus-proxy.exe
  local root=target/dist/$name run=()
  [ -z "${RUN:-}" ] || run=("$RUN")
  rm -rf "$root"
  mkdir -p "$root/completions" dist
  cp "$built/$program" README.md CHANGELOG.md LICENSE SECURITY.md config/example.toml "$root"
  for shell in bash zsh fish powershell; do
    "${run[@]}" "$built/$program" completions "$shell" >"$root/completions/nexudus-proxy.$shell"
  done
  if [[ $target == *windows* ]]; then
    cp "$built/nexudus-proxy-task.exe" windows/nexudus-proxy.xml "$root"
    python3 - "$root" "dist/$name.zip" <<'PY'
import pathlib, sys, zipfile
root = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED) as archive:
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        # One time for all files, the earliest that a zip can have.
        entry = zipfile.ZipInfo((root.name / path.relative_to(root)).as_posix())
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, path.read_bytes())
PY
  else
    "$built/$program" man >"$root/nexudus-proxy.1"
    cp -r launchd "$root"
    tar -czf "dist/$name.tar.gz" -C target/dist "$name"
  fi
}

render() {
  local dist=$1 source=nexudus-proxy-$version-source.tar.gz sum
  mkdir -p "$dist"
  git archive --format=tar --prefix="nexudus-proxy-$version/" HEAD | gzip -9n >"$dist/$source"
  sum=$(checksum "$dist/$source")
  sed -e "s/@VERSION@/$version/g" -e "s/@SHA256_SOURCE@/$sum/g" \
    packaging/homebrew/nexudus-proxy.rb.in >"$dist/nexudus-proxy.rb"
  sed -e "s/@VERSION@/$version/g" packaging/install.sh.in >"$dist/install.sh"
  chmod 755 "$dist/install.sh"
}

checksum() {
  sha256sum "$1" | cut -d' ' -f1
}

join() {
  local parts=$1 dist=$2 file
  mkdir -p "$dist"
  # What two machines make alike, such as licences, comes once, and is compared.
  while read -r file; do
    if [ -e "$dist/${file##*/}" ] && ! cmp -s "$file" "$dist/${file##*/}"; then
      echo "error: two machines made different files: ${file##*/}" >&2
      exit 1
    fi
    cp "$file" "$dist"
  done < <(find "$parts" -type f ! -name SHA256SUMS | sort)
  render "$dist"
  rm -f "$dist/SHA256SUMS"
  (cd "$dist" && sha256sum -- * >../SHA256SUMS.new)
  mv "$dist/../SHA256SUMS.new" "$dist/SHA256SUMS"
}

push_image() {
  local dist=$1 image=$2 machine
  registry_login "$image"
  buildah manifest create candidate >&2
  for machine in amd64 arm64; do
    buildah manifest add candidate "oci-archive:$dist/nexudus-proxy-$version-$machine.oci.tar" >&2
  done
  # No user finds it there: tag-image names it once it was tried.
  buildah manifest push --all --digestfile target/digest candidate \
    "docker://$image:candidate-$version" >&2
  echo "digest=$(cat target/digest)"
}

registry_login() {
  skopeo login "${1%%/*}" --username "$GITHUB_ACTOR" --password-stdin <<<"$TOKEN" >&2
}

tag_image() {
  registry_login "$1"
  for tag in "$version" latest; do
    skopeo copy --all "docker://$1" "docker://${1%@*}:$tag"
  done
}

notes() {
  awk -v heading="## [$version]" '
    index($0, heading) == 1 { inside = 1; next }
    inside && /^## \[/ { exit }
    inside { print }' CHANGELOG.md
  cat <<END
Container image: \`$1\`

Check a file: \`gh attestation verify FILE --repo nexudus-proxy/nexudus-proxy\`
END
}

smoke() {
  local downloaded=$1 scratch program name
  scratch=$(mktemp -d)
  (cd "$downloaded" && if command -v sha256sum >/dev/null; then sha256sum --check --quiet SHA256SUMS
  else shasum -a 256 --check --quiet SHA256SUMS; fi)
  case $(uname -s) in
    Linux | Darwin)
      sh "$downloaded/install.sh" --prefix "$scratch/prefix" --from "file://$(cd "$downloaded" && pwd)"
      program=$scratch/prefix/bin/nexudus-proxy
      installed "$program" script
      ;;
    *)
      name=nexudus-proxy-$version-x86_64-pc-windows-msvc
      unzip -q "$downloaded/$name.zip" -d "$scratch"
      program=$scratch/$name/nexudus-proxy.exe
      installed "$program" archive
      ;;
  esac
  serves "$program" "$scratch"
  if command -v apt-get >/dev/null; then
    sudo apt-get install -y -qq "$downloaded"/nexudus-proxy_*_"$(dpkg --print-architecture)".deb
    installed /usr/bin/nexudus-proxy deb
    serves /usr/bin/nexudus-proxy "$scratch"
    sudo apt-get purge -y -qq nexudus-proxy
  fi
}

# PROGRAM HOW: fails unless the program says that it was installed so, in this version.
installed() {
  local said
  said=$("$1" --version --json)
  grep -F "\"version\": \"$version\"" <<<"$said"
  grep -F "\"installed\": \"$2\"" <<<"$said"
}

# PROGRAM SCRATCH: the whole path, with a simulated Nexudus: a login, a token, a request.
serves() {
  local demo answer=
  "$1" config check
  "$1" demo >"$2/demo.log" 2>&1 &
  demo=$!
  for _ in $(seq 150); do
    answer=$(curl -fsS http://localhost:6398/api/auth/me 2>/dev/null) && break
    sleep 0.2
  done
  kill "$demo"
  wait "$demo" || true
  if ! grep -q ada@example.test <<<"$answer"; then
    cat "$2/demo.log" >&2
    exit 1
  fi
  echo "$1 serves"
}

smoke_image() {
  docker login "${1%%/*}" --username "$GITHUB_ACTOR" --password-stdin <<<"$TOKEN"
  docker run --rm --read-only --cap-drop ALL --network none "$1" --version --json |
    tee /dev/stderr | grep -F '"installed": "image"'
}

tap() {
  local dist=$1 scratch
  scratch=$(mktemp -d)
  gh auth setup-git
  gh repo clone nexudus-proxy/homebrew-tap "$scratch"
  mkdir -p "$scratch/Formula"
  cp "$dist/nexudus-proxy.rb" "$scratch/Formula"
  git -C "$scratch" switch --create "nexudus-proxy-$version"
  git -C "$scratch" add Formula
  git -C "$scratch" -c user.name=release -c user.email=release@users.noreply.github.com \
    commit --message "nexudus-proxy $version"
  git -C "$scratch" push origin HEAD
  (cd "$scratch" && gh pr create --fill)
}

step=${1:?"a step is needed: see the head of this file"}
shift
case $step in
  archive | render | join | notes | smoke | tap) "$step" "$@" ;;
  push-image) push_image "$@" ;;
  smoke-image) smoke_image "$@" ;;
  tag-image) tag_image "$@" ;;
  *)
    echo "error: unknown step: $step" >&2
    exit 2
    ;;
esac
