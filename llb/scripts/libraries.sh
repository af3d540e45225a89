# Copies shared libraries of the toolchain, by soname, and the licences of the
# packages that they are from, into /out as the image will have them. The first
# argument is the folder for libraries. A stub is what a program is linked against
# where there is no driver: it must never be in an image.
set -eu
dir=/out$1
shift
mkdir -p "$dir"
for name; do
  found=
  for f in /usr/local/cuda/lib64/"$name" /usr/local/cuda/targets/*/lib/"$name" /usr/lib/*-linux-gnu/"$name" /usr/lib/"$name"; do
    if [ -e "$f" ] && [ -z "$found" ]; then found=$(readlink -f "$f"); fi
  done
  case $found in
  '') echo "the toolchain has no $name" >&2 && exit 1 ;;
  */stubs/*) echo "the toolchain has only a stub of $name" >&2 && exit 1 ;;
  esac
  install -m 0755 "$found" "$dir/$name"
  package=$(dpkg-query -S "$found" 2>/dev/null | sed 's/[:,].*//;q')
  licence=/usr/share/doc/$package/copyright
  [ -n "$package" ] && [ -e "$licence" ] || continue
  mkdir -p /out/usr/share/licenses/"$package"
  cp -L "$licence" /out/usr/share/licenses/"$package"/
done
find /out -exec touch -h -d @0 {} +
