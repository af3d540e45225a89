# Runs one compiler through ccache once there is room for it. The arguments are
# the compiler's command as CMake made it, with the source at its end.
for source; do :; done
# An object that another part has compiled is taken as it is: its source is not
# here. Without the file that lists what a source includes, Ninja takes it that
# there is nothing.
if [ -n "${STUBS-}" ]; then
  object=
  for arg; do
    [ "$object" != -o ] || { object=$arg && break; }
    [ "$arg" != -o ] || object=-o
  done
  for f in /lent/*/obj/"${object:-none}"; do
    if [ -f "$f" ]; then exec cp "$f" "$object"; fi
  done
  if grep -qxF "$source" /build/stubs 2>/dev/null; then
    echo "no part has compiled $source" >&2
    exit 1
  fi
fi

# Steps of a build run side by side, and so do builds, each with as many compilers
# as the machine has room for; together they would need many times its memory. So
# all of them take turns at one set of slots, which are locks on files in a folder
# that all steps of a builder share. A lock ends with whoever holds it, however
# that ends.
slots=/slots
jobs=$(cat /tmp/jobs)
i=0 slot=
while [ "$i" -lt "$jobs" ]; do
  exec 9>"$slots/$i"
  if flock -n 9; then slot=$i; break; fi
  i=$((i + 1))
done
if [ -z "$slot" ]; then
  # None is free: wait at one of them, each compiler at another.
  exec 9>"$slots/$(($$ % jobs))"
  flock 9
fi

# The plan's rules say who compiles a source, and with which flags.
name=${source#/src/}
name=${name#/build/}
clang= flags=
while read -r pattern compiler more; do
  # Unquoted, to be a pattern.
  case $name in $pattern)
    flags=$more
    [ "$compiler" = clang ] && clang=yes
    break
    ;;
  esac
done <<END
${RULES-}
END
case ${1##*/} in
  c++ | *g++) clang=${clang:+clang++} ;;
  cc | *gcc) clang=${clang:+clang} ;;
  # nvcc and the like are nobody's to replace.
  *) clang= flags= ;;
esac
[ -n "$clang" ] || exec ccache "$@" $flags

# OpenMP is the other compiler's; what needs it fails here.
more="${CROSS:+--target=$CROSS }$flags -fno-openmp"
cmake=$1
shift
# What a compiler says is kept in memory: a full disk must not hide it.
code=0
said=$(ccache "/llorch/$clang" "$@" $more 2>&1) || code=$?
if [ "$code" = 0 ]; then
  [ -z "$said" ] || echo "$said" >&2
  exit
fi

# diagnosis runs a compiler once more, without the cache and without writing a file,
# and prints the first error that it finds in the source, or the flags that it does
# not know. There is none where the compiler was killed, ran out of memory or disk,
# or crashed.
diagnosis() {
  n=$#
  while [ "$n" -gt 0 ]; do
    arg=$1
    shift
    n=$((n - 1))
    case $arg in
    -MD | -MMD) ;;
    -o | -MF | -MT | -MQ)
      shift
      n=$((n - 1))
      ;;
    *) set -- "$@" "$arg" ;;
    esac
  done
  found= status=0
  found=$("$@" -fno-color-diagnostics -o /dev/null 2>&1) || status=$?
  [ "$status" = 1 ] || return 1
  echo "$found" | grep -m 1 -E '^[^ ].*:[0-9]+:[0-9]+: (fatal )?error: |^clang(\+\+)?(-[0-9]+)?: error: (unknown argument|unsupported|invalid|optimization flag)'
}

if first=$(diagnosis "$clang" "$@" $more); then
  # Clang does not take this source: the compiler that CMake knows may.
  printf '%s\t%s\n' "$name" "$first" >>/build/fallbacks
  exec ccache "$cmake" "$@" $flags
fi
echo "$said" >&2
signal=
if [ "$code" -gt 128 ] && [ "$code" -lt 255 ]; then signal=$((code - 128)); fi
case $said in
*"No space left on device"*) why="the disk is full" ;;
*"out of memory"* | *"annot allocate memory"* | *bad_alloc* | *"failed to map segment"*) why="no memory" ;;
*) why=${signal:+"signal $signal ($(kill -l "$signal" 2>/dev/null || echo unknown))"} ;;
esac
echo "llorch-bk: $clang ended while it compiled $name: ${why:-exit code $code}; the source is not at fault, so no other compiler is asked" >&2
exit "$code"
