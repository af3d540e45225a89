# Configures and compiles one part, then lays out what it gives:
#   /out/image what the image has of it, as it has it: shared libraries and backends, each
#              once, under its soname; the server, from the part that links it; and what
#              whoever gets the image has to know, in a file of the part's name
#   /out/lend  static libraries that another part links
#   /out/obj   objects that another part links, where the build would have them
# Arguments are CMake's. PART, TARGETS, OBJECTS, LENT, STUBS, LIBRARIES, PROGRAMS and the
# launcher's RULES come from the plan; how many compilers run at once comes from a file,
# because it must not be a key. Results of other parts are in /lent. CROSS begins the names
# of the tools where the code is for another machine than this one.
set -eu
tools=${CROSS:+$CROSS-}
build=/build
generator=$1
shift
notes=/out/image$NOTES
mkdir -p "$notes"

# Two gigabytes for each compiler: the largest sources take more than one. What a
# group of processes may take can be less than what the machine has.
jobs=$(cat /run/llorch/jobs 2>/dev/null || true)
if [ -z "$jobs" ] || [ "$jobs" = 0 ]; then
  jobs=$(nproc)
  room=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
  for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    bytes=$(cat "$limit" 2>/dev/null || true)
    # No limit is the word max, or a number beyond any memory.
    case $bytes in '' | *[!0-9]* | ????????????????*) continue ;; esac
    [ $((bytes / 1048576)) -ge "${room:-0}" ] || room=$((bytes / 1048576))
  done
  fits=$((${room:-0} / 2048))
  [ "$fits" -ge 1 ] || fits=1
  [ "$jobs" -le "$fits" ] || jobs=$fits
fi
echo "$jobs" >/tmp/jobs

# An object is taken from the cache only where its source, preprocessed, is the same:
# then whatever a header, a missing header or __has_include has to do with it is the
# same. Ways that look at lists of files instead (ccache's direct and depend modes)
# do not see a header that appears. Compilers, and the assembler, are told apart by
# the packages that they are made of.
packages=$(dpkg-query -W 'binutils*' 'gcc-*' 'g++-*' 'cpp-*' 'clang-*' 'libclang*' 'libllvm*' 'cuda-nvcc*' 'nvidia-cuda-toolkit' 2>/dev/null | awk 'NF == 2')
TOOLCHAIN=$(echo "$packages" | sha256sum | cut -c -64)
export TOOLCHAIN CCACHE_COMPILERCHECK="string:$TOOLCHAIN"
export CCACHE_DIR=/ccache CCACHE_NODIRECT=1 CCACHE_NODEPEND=1 CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=5G
# The assembler reads files too, which no preprocessor sees.
embeds=$(grep -rlIE '\.incbin|\.include[[:space:]]+[\\"]|"[[:space:]]*\.inc|^[[:space:]]*#[[:space:]]*embed[[:space:]]' /src --include='*.[cChHsS]' --include='*.cc' --include='*.cpp' --include='*.cxx' --include='*.hpp' --include='*.inc' --include='*.cu' --include='*.cuh' 2>/dev/null || true)
if [ -n "$embeds" ]; then
  echo "no compiler cache, since sources embed files by the assembler or #embed:" $embeds
  export CCACHE_DISABLE=1
fi
# A build with a registry's cache lends the step a socket: the objects that an earlier
# build has left there come while CMake configures. ccache looks at its own folder
# first, and gives what it uses to the last one.
carries=
if [ -S /run/llorch/objects ] && [ -z "${CCACHE_DISABLE-}" ]; then
  carries=yes
  export CCACHE_RESHARE=1 CCACHE_REMOTE_STORAGE="file:/tmp/objects/in|read-only|update-mtime file:/tmp/objects/out"
  # The name before ccache 4.7.
  export CCACHE_SECONDARY_STORAGE="$CCACHE_REMOTE_STORAGE"
  sh /llorch/objects.sh get &
fi
launch="sh;/llorch/launch.sh"
export CMAKE_C_COMPILER_LAUNCHER="$launch" CMAKE_CXX_COMPILER_LAUNCHER="$launch" CMAKE_CUDA_COMPILER_LAUNCHER="$launch"

# ggml alone is no project: it wants to be a folder of one.
if [ ! -e /src/CMakeLists.txt ]; then
  cat >/src/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.14...3.28)
project(ggml-alone C CXX)
include(GNUInstallDirs)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_subdirectory(ggml)
END
fi

# Other parts count in the same cache: a log of its own tells this part's hits.
export CCACHE_STATSLOG=/tmp/ccache.log
cmake -S /src -B "$build" -G "$generator" -DGGML_CCACHE=OFF -DCMAKE_PROJECT_INCLUDE=/llorch/project.cmake \
  "-DLLORCH_LENT=$LENT" "-DLLORCH_STUBS=${STUBS-}" "$@"
if [ -n "$OBJECTS" ]; then
  # Every target compiles an object of its own from each of these sources; a tree
  # that has none of them leaves all of the work to the other part.
  TARGETS=$(ninja -C "$build" -t targets all | sed 's/: [^:]*$//' | while read -r object; do
    wanted=
    for source in $OBJECTS; do
      # Unquoted, to be patterns.
      case $source in
      !*) case $object in */${source#!}.o) wanted= ;; esac ;;
      *) case $object in */$source.o) wanted=yes ;; esac ;;
      esac
    done
    [ -z "$wanted" ] || echo "$object"
  done)
  [ -n "$TARGETS" ] || exit 0
fi
[ -z "$carries" ] || wait
# Unquoted, to be words.
cmake --build "$build" --parallel "$jobs" ${TARGETS:+--target $TARGETS}
ccache --show-log-stats
touch "$CCACHE_STATSLOG"
# What is beside its own folder is secondary to ccache before 4.7.
awk '/^preprocessed_cache_hit$/ {hits++} /^cache_miss$/ {misses++} /^(remote|secondary)_storage_hit$/ {carried++}
  END {if (hits + misses) printf "llorch-bk: %d compiles, %d from the compiler cache, %d of these from the registry\n", hits + misses, hits, carried}' "$CCACHE_STATSLOG"
[ -z "$carries" ] || sh /llorch/objects.sh put

# What another compiler than the plan's compiled is told, with the reason.
if [ -s "$build/fallbacks" ]; then
  sort -u "$build/fallbacks" | while IFS='	' read -r source why; do
    echo "clang does not compile $source, so CMake's compiler did: $why"
  done | tee "$notes/$PART"
fi

soname() { "${tools}objdump" -p "$1" | awk '$1 == "SONAME" {print $2}'; }

if [ -n "$OBJECTS" ]; then
  for object in $TARGETS; do
    mkdir -p "/out/obj/${object%/*}"
    cp "$build/$object" "/out/obj/$object"
  done
  exit
fi

# What is to be known of objects is to be known of what they are linked into.
for part in /lent/*/obj; do
  [ ! -d "$part" ] || find "${part%/obj}/image$NOTES" -type f -exec cp {} "$notes/" ';'
done
app=/out/image$APP
mkdir -p "$app" /out/lend
for f in "$build"/bin/*.so "$build"/bin/*.so.*; do
  [ -f "$f" ] && [ ! -L "$f" ] || continue
  # What was lent is the other part's to give.
  ! grep -qxF "$f" "$build/lent" 2>/dev/null || continue
  name=$(soname "$f")
  install -m 0755 "$f" "$app/${name:-${f##*/}}"
done
if [ -n "${LIBRARIES+set}" ]; then
  if [ "$PROGRAMS" = all ]; then
    PROGRAMS=$(cd "$build/bin" && find . -maxdepth 1 -type f -perm -u+x ! -name '*.so' ! -name '*.so.*' | sed 's,^\./,,' | sort)
  fi
  for program in $PROGRAMS; do
    install -m 0755 "$build/bin/$program" "$app/"
  done
else
  find "$build/vendor" -name '*.a' -exec cp {} /out/lend/ ';' 2>/dev/null || true
fi
for lib in ${LIBRARIES-}; do
  f=$("${tools}gcc" -print-file-name="$lib")
  [ -e "$f" ] || { echo "the toolchain has no $lib" >&2; exit 1; }
  install -m 0755 "$(readlink -f "$f")" "$app/$lib"
done
for f in "$app"/*; do
  [ ! -f "$f" ] || "${tools}strip" --strip-unneeded "$f"
done
# The files are keyed by their content; layers hold their times as well.
find /out -exec touch -h -d @0 {} +
