# What scripts that use apt have in common. They read this file first.

# An archive that fails for a moment is asked again. A network's own certificate
# authority comes as a secret: it is in no layer.
acquire='-o Acquire::Retries=3'
[ ! -s /run/llorch/ca.crt ] || acquire="$acquire -o Acquire::https::CAInfo=/run/llorch/ca.crt"

# update reads the archives' lists. COMPONENTS are parts of the archive that a base may
# not name, in either form of source lists. Debian's images empty apt's cache after each
# call, and here it is a cache mount or is wanted.
update() {
  rm -f /etc/apt/apt.conf.d/docker-clean
  for component in ${COMPONENTS-}; do
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
      [ -f "$f" ] || continue
      sed -i -E "/^Components:/{/(^| )$component( |\$)/!s/\$/ $component/}; /^deb /{/ $component( |\$)/!s/\$/ $component/}" "$f"
    done
  done
  apt-get $acquire -qq update
}
