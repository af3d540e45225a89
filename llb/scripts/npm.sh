# Fetches the packages that the web UI in /src names in its lock file, into /out.
set -eu
mkdir -p /tmp/ui
cp /src/package.json /src/package-lock.json /tmp/ui/
[ ! -f /src/.npmrc ] || cp /src/.npmrc /tmp/ui/
cd /tmp/ui
npm_config_cache=/tmp/npm
. /llorch/npm-ci.sh
mv /tmp/npm/_cacache/content-v2 package-lock.json /out/
