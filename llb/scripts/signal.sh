#!/bin/sh
# Runs the compiler of this file's name. A compiler that a signal ends has no exit
# code, which ccache makes 255 of, whatever the signal; a shell makes 128 and its
# number of it.
"${0##*/}" "$@"
exit $?
