# Installs the packages named as arguments, or all of /debs where it is there. The download caches are cache
# mounts, so Debian's images must not be left to empty them after each call.
set -eu
rm -f /etc/apt/apt.conf.d/docker-clean
export DEBIAN_FRONTEND=noninteractive
keep='-o APT::Keep-Downloaded-Packages=true -o Binary::apt::APT::Keep-Downloaded-Packages=true'
retry='-o Acquire::Retries=3'
# A network's own certificate authority comes as a secret: it is in no layer.
ca=
[ ! -s /run/llorch/ca.crt ] || ca='-o Acquire::https::CAInfo=/run/llorch/ca.crt'
# Some packages are in parts of the archive that a base does not name: in the one
# form of source lists or in the other.
for component in ${COMPONENTS-}; do
  for f in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    [ -f "$f" ] || continue
    sed -i -E "/^Components:/{/(^| )$component( |\$)/!s/\$/ $component/}; /^deb /{/ $component( |\$)/!s/\$/ $component/}" "$f"
  done
done
if [ -d /debs ]; then
  apt-get -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root -qq install -y --no-install-recommends /debs/*.deb
else
  apt-get $retry $ca -qq update
  apt-get $keep $retry $ca -o Dpkg::Use-Pty=0 -qq install -y --no-install-recommends "$@"
fi
# What tells of this run would make equal steps differ.
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
