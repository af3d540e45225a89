# Makes the root of an image in /out from packages' files alone: no shell, no package
# manager, nothing that runs while it is made. Arguments are packages that come with
# what they depend on; ALONE are those of which only files are wanted. Scanners find
# every package with its version in /var/lib/dpkg/status.d.
set -eu
. /llorch/apt.sh
# What was locked is fetched already.
debs=/debs
if [ ! -d "$debs" ]; then
  update
  debs=/tmp/debs
  mkdir -p "$debs/partial"
  # With no package installed, apt finds all that these need.
  : >/tmp/none
  apt-get $acquire -o Dir::State::status=/tmp/none -o Dir::Cache::archives="$debs" -o Debug::NoLocking=true -qq --download-only --no-install-recommends -y install "$@"
  # Unquoted, to be words.
  (cd "$debs" && apt-get $acquire -qq download $ALONE)
fi

out=/out
mkdir -p "$out/etc/ssl/certs" "$out/var/lib/dpkg/status.d" "$out/usr/share/doc"
mkdir -m 0700 "$out/root"
mkdir -m 1777 "$out/tmp" "$out/var/tmp"
# What containers get mounts on, and the usual short paths.
mkdir "$out/dev" "$out/proc" "$out/sys" "$out/run"
for d in bin lib lib64 sbin; do
  mkdir -p "$out/usr/$d"
  ln -s "usr/$d" "$out/$d"
done

for deb in "$debs"/*.deb; do
  name=$(dpkg-deb -f "$deb" Package)
  case $name in
  # Of this one, what tells the distribution, and the texts of common licences.
  base-files)
    dpkg-deb -x "$deb" /tmp/base-files
    for f in etc/debian_version etc/lsb-release etc/os-release usr/lib/os-release usr/share/common-licenses usr/share/doc/base-files; do
      [ -e "/tmp/base-files/$f" ] || [ -L "/tmp/base-files/$f" ] || continue
      mkdir -p "$out/${f%/*}"
      cp -a "/tmp/base-files/$f" "$out/$f"
    done
    ;;
  # Archives of other releases have files in /lib, which is a link here.
  *) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$out" --keep-directory-symlink ;;
  esac
  dpkg-deb -f "$deb" >"$out/var/lib/dpkg/status.d/$name"
  dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./md5sums >"$out/var/lib/dpkg/status.d/$name.md5sums" 2>/dev/null || rm "$out/var/lib/dpkg/status.d/$name.md5sums"
done

# One file of certificates, as libraries expect it.
cat "$out"/usr/share/ca-certificates/*/*.crt >"$out/etc/ssl/certs/ca-certificates.crt"

# No server looks at these. Of the documentation, licences stay.
rm -rf "$out"/usr/bin/* "$out"/usr/sbin/* "$out"/usr/games "$out"/usr/include "$out"/usr/share/ca-certificates \
  "$out"/usr/share/man "$out"/usr/share/info "$out"/usr/share/locale "$out"/usr/share/lintian "$out"/usr/share/bug \
  "$out"/usr/share/doc-base "$out"/usr/share/gdb "$out"/usr/share/gcc "$out"/usr/lib/*/gconv "$out"/usr/lib/*/audit
find "$out/usr/share/doc" -type f ! -name copyright -delete
find "$out/usr/share/doc" -mindepth 1 -type d -empty -delete

cat >"$out/etc/passwd" <<END
root:x:0:0:root:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
nonroot:x:65532:65532:nonroot:/nonexistent:/usr/sbin/nologin
END
cat >"$out/etc/group" <<END
root:x:0:
nogroup:x:65534:
nonroot:x:65532:
video:x:44:
render:x:106:
END
echo 'hosts: files dns' >"$out/etc/nsswitch.conf"
# The files are keyed by their content; layers hold their times as well.
find "$out" -exec touch -h -d @0 {} +
