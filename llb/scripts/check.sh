# Checks an image in /image before anybody gets it: every shared library that its
# programs and libraries need has to be in it. DRIVER names those that only a host's
# driver brings.
set -eu
places=
for dir in /image/app /image/lib/ /image/lib64/ /image/usr/lib /image/usr/lib64 /image/usr/local/lib; do
  [ ! -d "$dir" ] || places="$places $dir"
done
missing=$(for f in /image/app/*; do
  objdump -p "$f" 2>/dev/null | awk '$1 == "NEEDED" {print $2}' | while read -r lib; do
    case " ${DRIVER-} " in *" $lib "*) continue ;; esac
    # Unquoted, to be words.
    [ -n "$(find $places -name "$lib" -print -quit 2>/dev/null)" ] || echo "llorch-bk: ${f##*/} needs $lib, and the image does not have it"
  done
done)
if [ -n "$missing" ]; then
  echo "$missing" >&2
  exit 1
fi
