# Compiles a program of ours that needs nothing of where it runs: SOURCE FILE.
set -eu
mkdir -p "${2%/*}"
"${CROSS:+$CROSS-}gcc" -Os -static -s -o "$2" "$1"
# The files are keyed by their content; layers hold their times as well.
find /out -exec touch -h -d @0 {} +
