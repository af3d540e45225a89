#!/usr/bin/env bash
# Puts llorch-bk on the PATH of a job's later steps: the release in INPUT_VERSION, or the
# release of the tag by which a workflow uses the action. If that tag has no release, it
# compiles the action's own commit.
set -euo pipefail

fail() {
  printf 'error: %s\nwhat to do: %s\n' "$1" "$2" >&2
  exit "${3:-3}"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${RUNNER_TEMP:-${TMPDIR:-/tmp}}/llorch-bk/bin
mkdir -p "$bin"

repository=llorch/llorch-bk version=${INPUT_VERSION:-}
# GitHub unpacks an action into _actions/OWNER/NAME/REF. Its contexts have the wrong ref if
# another composite action uses this one (actions/runner issue 2473).
if [[ $root =~ /_actions/([^/]+/[^/]+)/([^/]+)$ ]]; then
  repository=${BASH_REMATCH[1]} ref=${BASH_REMATCH[2]}
  [[ -n $version || ! $ref =~ ^v[0-9]+\.[0-9]+\.[0-9] ]] || version=$ref
fi
[[ $version =~ ^(v[0-9A-Za-z.+-]+)?$ ]] || fail "version must be a release of llorch-bk, got \"$version\"" "name a release such as v1.2.3" 2

# download downloads the release's program. The checksum comes from the same server: it
# detects a truncated or wrong file, and proves no more than the connection does.
download() {
  local arch file url
  case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
  esac
  file=llorch-bk-$(uname -s | tr '[:upper:]' '[:lower:]')-$arch
  url=${GITHUB_SERVER_URL:-https://github.com}/$repository/releases/download/$version
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  curl -fsSL --retry 3 -o "$tmp/$file" "$url/$file" && curl -fsSL --retry 3 -o "$tmp/SHA256SUMS" "$url/SHA256SUMS" || return 1
  (cd "$tmp" && grep " $file\$" SHA256SUMS | sha256sum -c - >&2) ||
    fail "llorch-bk $version does not match its release's checksum" "run the job again"
  install -m 755 "$tmp/$file" "$bin/llorch-bk"
}

if [[ -n $version ]] && download; then
  :
elif [[ -n ${INPUT_VERSION:-} ]]; then
  fail "cannot download llorch-bk $version" "name an existing release, or omit the version"
elif command -v go >/dev/null; then
  echo "compile llorch-bk" >&2
  (cd "$root" && CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$version" -o "$bin/llorch-bk" ./cmd/llorch-bk)
else
  fail "no release of llorch-bk for this runner, and no Go to compile it" "name a release, or run actions/setup-go first"
fi

"$bin/llorch-bk" version >&2
if [[ -n ${GITHUB_PATH:-} ]]; then echo "$bin" >>"$GITHUB_PATH"; else echo "$bin"; fi
