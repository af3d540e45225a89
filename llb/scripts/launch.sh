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
# all of them take turns at one set of slots, which are locks on files in the
# cache that they share. A lock ends with whoever holds it, however that ends.
slots=/ccache/slots
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

# compile runs a command as the plan's rules for its source say, which is the last
# of its arguments.
compile() {
  for source; do :; done
  # A precompiled header is among the files of the build.
  source=${source#/src/}
  source=${source#/build/}
  clang= flags=
  while read -r pattern compiler more; do
    # Unquoted, to be a pattern.
    case $source in $pattern)
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
  if [ -n "$clang" ]; then
    cmake=$1
    shift
    # A header's time would make a cached precompiled header another one; OpenMP is
    # the other compiler's, and what needs it fails here.
    if ccache "$clang" "$@" $flags -Xclang -fno-pch-timestamp -fno-openmp 2>"/tmp/clang.$$"; then
      cat "/tmp/clang.$$" >&2
      rm "/tmp/clang.$$"
      return 0
    fi
    rm "/tmp/clang.$$"
    # Sources that were put together are taken apart before another compiler is asked.
    [ -z "$together" ] || return 1
    set -- "$cmake" "$@"
  fi
  ccache "$@" $flags
}

# Sources that CMake put together, which not all can be, are compiled apart where
# that fails, and their objects put together.
case $source in
*/Unity/unity_*) together=$(sed -n 's/^#include "\(.*\)"$/\1/p' "$source") ;;
*) together= ;;
esac
if [ -z "$together" ]; then
  compile "$@"
  exit
fi
if compile "$@" 2>"/tmp/together.$$"; then
  cat "/tmp/together.$$" >&2
  rm "/tmp/together.$$"
  exit
fi
rm "/tmp/together.$$"
apart=$together together= was=$source object= n=0 objects=
for each in $apart; do
  n=$((n + 1)) i=$# last=
  # The command once more, with one source and an object of its own.
  while [ "$i" -gt 0 ]; do
    arg=$1
    shift
    if [ "$last" = -o ]; then
      : "${object:=$arg}"
      arg=$object.$n
    elif [ "$arg" = "$was" ]; then
      arg=$each
    fi
    last=$arg
    set -- "$@" "$arg"
    i=$((i - 1))
  done
  was=$each objects="$objects $object.$n"
  compile "$@" || exit
done
# Unquoted, to be words.
ld -r -o "$object" $objects && rm $objects
