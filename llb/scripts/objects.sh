# Objects of the compiler cache that travel beside a registry's layer cache. SLOT names
# the part that is compiled; TOOLCHAIN its compilers, without which no object fits.
#   objects.sh get   puts what an earlier build has left where ccache looks
#   objects.sh put   gives what this build has used, and nothing else, back
# Nothing here fails a build: a compile without objects is slower, and the same.
set -u
dir=/tmp/objects
path="/slots/$SLOT?toolchain=$TOOLCHAIN"
ask="perl /llorch/ask.pl"
case $1 in
get)
  mkdir -p "$dir/in" "$dir/out"
  if ! $ask GET "$path" >"$dir/tar" || ! tar -xf "$dir/tar" -C "$dir/in" --no-same-owner; then
    rm -rf "$dir/in" && mkdir "$dir/in"
  fi
  rm -f "$dir/tar"
  ;;
put)
  $ask GET /wanted || exit 0
  # All files in the archive have one old time. What ccache has read has a new one.
  touch -d @1 "$dir/unread"
  had=$(find "$dir/in" -type f | wc -l)
  find "$dir/in" -type f ! -newer "$dir/unread" -delete
  # In folders of two digits; beside those, ccache puts a file for backup programs.
  new=$(find "$dir/out" -mindepth 2 -type f | wc -l)
  kept=$(find "$dir/in" -mindepth 2 -type f | wc -l)
  [ "$new" -gt 0 ] || [ "$kept" -lt "$had" ] || exit 0
  cp -R "$dir/out/." "$dir/in/"
  rm -f "$dir/in/CACHEDIR.TAG"
  tar -cf "$dir/tar" -C "$dir/in" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX . &&
    $ask PUT "$path" <"$dir/tar"
  rm -f "$dir/tar"
  ;;
esac
exit 0
