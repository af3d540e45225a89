# Fetches the packages that the web UI in /src names in its lock file, into /out, by
# npm itself: it knows which of them this platform takes, and checks their hashes.
set -eu
mkdir -p /tmp/ui
cp /src/package.json /src/package-lock.json /tmp/ui/
[ ! -f /src/.npmrc ] || cp /src/.npmrc /tmp/ui/
cd /tmp/ui
# A network's own certificate authority comes as a secret: it is in no layer.
[ ! -s /run/llorch/ca.crt ] || export NODE_EXTRA_CA_CERTS=/run/llorch/ca.crt
export npm_config_cache=/tmp/npm npm_config_update_notifier=false
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
mv /tmp/npm/_cacache/content-v2 package-lock.json /out/
