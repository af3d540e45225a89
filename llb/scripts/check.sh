# Checks an image in /image before anybody gets it: every shared library that its
# programs and libraries need has to be in it. DRIVER names those that only a host's
# driver brings. CROSS begins the names of the tools where the image is for another
# machine than this one: then all of its code has to be for that.
set -eu
tools=${CROSS:+$CROSS-}
places=
for dir in /image/app /image/lib/ /image/lib64/ /image/usr/lib /image/usr/lib64 /image/usr/local/lib; do
  [ ! -d "$dir" ] || places="$places $dir"
done
missing=$(for f in /image/app/*; do
  "${tools}objdump" -p "$f" 2>/dev/null | awk '$1 == "NEEDED" {print $2}' | while read -r lib; do
    case " ${DRIVER-} " in *" $lib "*) continue ;; esac
    # Unquoted, to be words.
    [ -n "$(find $places -name "$lib" -print -quit 2>/dev/null)" ] || echo "llorch-bk: ${f##*/} needs $lib, and the image does not have it"
  done
done)
machine() { "${tools}readelf" -h "$1" 2>/dev/null | sed -n 's/^ *Machine: *//p'; }
if [ -n "${CROSS-}" ]; then
  # The probe is this program's own, so no flag of a user's is in it.
  want=$(machine /image/app/llorch-probe)
  wrong=$(for f in /image/app/*; do
    has=$(machine "$f")
    [ -z "$has" ] || [ "$has" = "$want" ] || echo "llorch-bk: ${f##*/} is for $has, and the image is for $want"
  done)
  [ -z "$wrong" ] || { echo "$wrong" >&2 && exit 1; }
fi
if [ -n "$missing" ]; then
  echo "$missing" >&2
  exit 1
fi
