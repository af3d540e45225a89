# Runs one compiler through ccache once there is room for it. Steps of a build run
# side by side, and so do builds, each with as many compilers as the machine has
# room for; together they would need many times its memory. So all of them take
# turns at one set of slots, which are locks on files in the cache that they
# share. A lock ends with whoever holds it, however that ends.
slots=/ccache/slots
jobs=$(cat /tmp/jobs)
i=0
while [ "$i" -lt "$jobs" ]; do
  exec 9>"$slots/$i"
  flock -n 9 && exec ccache "$@"
  i=$((i + 1))
done
# None is free: wait at one of them, each compiler at another.
exec 9>"$slots/$(($$ % jobs))"
flock 9
exec ccache "$@"
