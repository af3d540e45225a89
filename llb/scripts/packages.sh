# Installs the packages named as arguments, or all of /debs if it exists.
set -eu
. /llorch/apt.sh
export DEBIAN_FRONTEND=noninteractive
keep='-o APT::Keep-Downloaded-Packages=true -o Binary::apt::APT::Keep-Downloaded-Packages=true'
if [ -d /debs ]; then
  apt-get -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root -qq install -y --no-install-recommends /debs/*.deb
else
  update
  apt-get $keep $acquire -o Dpkg::Use-Pty=0 -qq install -y --no-install-recommends "$@"
fi
# What tells of this run would make equal steps differ.
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
