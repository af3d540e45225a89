# Configures and compiles the target, then lays out what the image gets:
#   /out/lib      shared libraries and backends, each once, under its soname
#   /out/bin      the server
#   /out/licenses licence files
# Arguments are CMake's. TARGET, LIBRARIES and LICENCES come from the plan; how
# many compilers run at once comes from a file, because it must not be a key.
set -eu
src=/src
build=/build
generator=$1
shift

# Two gigabytes for each compiler: the server's largest sources take more than one.
jobs=$(cat /run/llorch/jobs 2>/dev/null || true)
if [ -z "$jobs" ] || [ "$jobs" = 0 ]; then
  jobs=$(nproc)
  fits=$(awk '/^MemAvailable:/ {print int($2 / 2097152)}' /proc/meminfo)
  [ "${fits:-0}" -ge 1 ] || fits=1
  [ "$jobs" -le "$fits" ] || jobs=$fits
fi

ccache --zero-stats >/dev/null
cmake -S "$src" -B "$build" -G "$generator" "$@"
cmake --build "$build" --target "$TARGET" --parallel "$jobs"
ccache --show-stats

mkdir -p /out/lib /out/bin /out/licenses/llama.cpp
install -m 0755 "$build/bin/$TARGET" /out/bin/
for f in "$build"/bin/*.so "$build"/bin/*.so.*; do
  [ -f "$f" ] && [ ! -L "$f" ] || continue
  soname=$(objdump -p "$f" | awk '$1 == "SONAME" {print $2}')
  install -m 0755 "$f" "/out/lib/${soname:-${f##*/}}"
done
for lib in $LIBRARIES; do
  f=$(gcc -print-file-name="$lib")
  [ -e "$f" ] || { echo "the toolchain has no $lib" >&2; exit 1; }
  install -m 0755 "$(readlink -f "$f")" "/out/lib/$lib"
  pkg=$(dpkg -S "$(readlink -f "$f")" | cut -d: -f1)
  if [ -e "/usr/share/doc/$pkg/copyright" ]; then
    install -D -m 0644 "/usr/share/doc/$pkg/copyright" "/out/licenses/$pkg/copyright"
  fi
done
strip --strip-unneeded /out/lib/* /out/bin/*
for f in $LICENCES; do
  install -m 0644 "$src/$f" /out/licenses/llama.cpp/
done
# Later trees keep the licences of what they bundle beside their own.
for f in "$src"/licenses/*; do
  [ ! -f "$f" ] || install -m 0644 "$f" /out/licenses/llama.cpp/
done
