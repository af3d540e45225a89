# Runs the linker for a library that this part does not compile, then puts the
# library of the part that does in its place, if that part is here. The first
# argument is the library, the rest is the linker's command.
set -eu
out=$1
shift
"$@"
case $out in /*) ;; *) out=$PWD/$out ;; esac
echo "$out" >>/build/lent
name=$("${CROSS:+$CROSS-}objdump" -p "$out" 2>/dev/null | awk '$1 == "SONAME" {print $2}')
for f in /lent/*/image/app/"${name:-none}" /lent/*/lend/"${out##*/}"; do
  [ ! -f "$f" ] || cp "$f" "$out"
done
