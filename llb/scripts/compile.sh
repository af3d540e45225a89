# Configures and compiles one part, then lays out what it gives:
#   /out/lib   shared libraries and backends, each once, under its soname
#   /out/bin   the server, from the part that links it
#   /out/lend  static libraries that another part links
#   /out/obj   objects that another part links, where the build would have them
# Arguments are CMake's. TARGETS, OBJECTS, LENT, PRECOMPILE, APART, STUBS, LIBRARIES
# and the launcher's RULES come from the plan; how many compilers run at once comes from a file,
# because it must not be a key. Results of other parts are in /lent.
set -eu
build=/build
generator=$1
shift

# Two gigabytes for each compiler: the largest sources take more than one.
jobs=$(cat /run/llorch/jobs 2>/dev/null || true)
if [ -z "$jobs" ] || [ "$jobs" = 0 ]; then
  jobs=$(nproc)
  fits=$(awk '/^MemAvailable:/ {print int($2 / 2097152)}' /proc/meminfo)
  [ "${fits:-0}" -ge 1 ] || fits=1
  [ "$jobs" -le "$fits" ] || jobs=$fits
fi
echo "$jobs" >/tmp/jobs
mkdir -p /ccache/slots

# ccache tells compilers apart by the packages that they are made of: the program
# that it sees is a small part of either. It takes what a source includes from the
# compiler, which saves a run of the preprocessor.
packages=$(dpkg-query -W 'gcc-*' 'g++-*' 'cpp-*' 'clang-*' 'libclang*' 'libllvm*' 'cuda-nvcc*' 'nvidia-cuda-toolkit' glslc 2>/dev/null | awk 'NF == 2')
export CCACHE_COMPILERCHECK="string:$(echo "$packages" | sha256sum)"
# What has no time stamp inside has the same content each time it is made.
export CCACHE_DIR=/ccache CCACHE_DEPEND=1 CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=5G
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_ctime,include_file_mtime
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
  "-DLLORCH_LENT=$LENT" "-DLLORCH_PRECOMPILE=$PRECOMPILE" "-DLLORCH_APART=$APART" "-DLLORCH_STUBS=${STUBS-}" "$@"
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
# Unquoted, to be words.
cmake --build "$build" --parallel "$jobs" ${TARGETS:+--target $TARGETS}
ccache --show-log-stats

soname() { objdump -p "$1" | awk '$1 == "SONAME" {print $2}'; }

if [ -n "$OBJECTS" ]; then
  for object in $TARGETS; do
    mkdir -p "/out/obj/${object%/*}"
    cp "$build/$object" "/out/obj/$object"
  done
  exit
fi

mkdir -p /out/lib /out/bin /out/lend
for f in "$build"/bin/*.so "$build"/bin/*.so.*; do
  [ -f "$f" ] && [ ! -L "$f" ] || continue
  # What was lent is the other part's to give.
  ! grep -qxF "$f" "$build/lent" 2>/dev/null || continue
  name=$(soname "$f")
  install -m 0755 "$f" "/out/lib/${name:-${f##*/}}"
done
if [ -n "${LIBRARIES+set}" ]; then
  install -m 0755 "$build/bin/llama-server" /out/bin/
else
  find "$build/vendor" -name '*.a' -exec cp {} /out/lend/ ';' 2>/dev/null || true
fi
for lib in ${LIBRARIES-}; do
  f=$(gcc -print-file-name="$lib")
  [ -e "$f" ] || { echo "the toolchain has no $lib" >&2; exit 1; }
  install -m 0755 "$(readlink -f "$f")" "/out/lib/$lib"
done
for f in /out/lib/* /out/bin/*; do
  [ ! -f "$f" ] || strip --strip-unneeded "$f"
done
