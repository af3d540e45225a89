# Finds out which packages of the distribution a build would take now, with what they
# depend on, and writes them to /out/packages: a line each of the set, sha256, size,
# name, version, architecture and path below the archive's top. SETS has a line for each
# set: its name, whether it is on top of the base, alone or from nothing, and packages.
# The first line names the distribution.
set -eu
. /llorch/apt.sh
update
apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u >/tmp/archives
: >/tmp/none
. /etc/os-release
echo "# $ID" >/out/packages
while read -r set how names; do
  [ -n "$names" ] || continue
  case $how in
  # Unquoted, to be words.
  base) apt-get -qq --print-uris --no-install-recommends -y install $names ;;
  nothing) apt-get -o Dir::State::status=/tmp/none -qq --print-uris --no-install-recommends -y install $names ;;
  alone) apt-get -qq --print-uris download $names ;;
  esac >/tmp/uris
  while read -r uri file size hash; do
    uri=${uri#\'}
    uri=$(printf %s "${uri%\'}" | sed 's/%2b/+/g; s/%7e/~/g; s/%3a/:/g')
    case $hash in
    SHA256:*) ;;
    # Some releases of apt print another hash: the archive's own list has this one.
    *)
      name=${file%%_*}
      hash=SHA256:$(apt-cache show "$name" | awk -v RS= -v file="/${uri##*/}" 'index($0, file) && match($0, /SHA256: [0-9a-f]+/) {print substr($0, RSTART + 8, RLENGTH - 8); exit}')
      ;;
    esac
    path=
    while read -r archive; do
      case $uri in "$archive"*) path=${uri#"$archive"} ;; esac
    done </tmp/archives
    path=${path#/}
    path=${path#./}
    name=${file%%_*}
    rest=${file#*_}
    version=$(printf %s "${rest%_*}" | sed 's/%3a/:/g')
    arch=${rest##*_}
    echo "$set ${hash#SHA256:} $size $name $version ${arch%.deb} $path" >>/out/packages
  done </tmp/uris
done <<END
$SETS
END
