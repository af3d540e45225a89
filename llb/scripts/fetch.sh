# Fetches packages by their hash into /out: /llorch/packages has a line for each, of
# sha256, file name and path below an archive's top. They come from the archives that
# the base knows, or else from those that keep every release, which are a secret only
# so as to be in no key.
set -eu
. /llorch/apt.sh
helper=/usr/lib/apt/apt-helper
archives=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sort -u)
mkdir -p /out /tmp/got
: >/tmp/said
missing() { while read -r sha file path; do [ -s "/out/$file" ] || echo "$sha $file $path"; done </llorch/packages; }
for archive in $archives $(cat /run/llorch/snapshots 2>/dev/null); do
  missing >/tmp/missing
  [ -s /tmp/missing ] || break
  set --
  while read -r sha file path; do
    set -- "$@" "${archive%/}/$path" "/tmp/got/$file" "SHA256:$sha"
  done </tmp/missing
  # It fails if one of them does; the others are there.
  "$helper" $acquire download-file "$@" >/tmp/said 2>&1 || true
  # Whoever fetched them, what counts is the hash.
  while read -r sha file path; do
    if [ -f "/tmp/got/$file" ] && echo "$sha  /tmp/got/$file" | sha256sum -c --status; then mv "/tmp/got/$file" "/out/$file"; else rm -f "/tmp/got/$file"; fi
  done </tmp/missing
done
missing >/tmp/missing
if [ -s /tmp/missing ]; then
  cat /tmp/said >&2
  while read -r sha file path; do
    echo "llorch-bk: $file cannot be had with the sha256 $sha: no archive has it" >&2
  done </tmp/missing
  exit 1
fi
find /out -exec touch -h -d @0 {} +
