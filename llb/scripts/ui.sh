# Builds the web UI in /src/tools/ui by its own lock file, into /out. Its packages
# come from npm's registry; that none of them runs a script of its own while it is
# installed is the tree's setting and made sure of here.
set -eu
cp -R /src/tools/ui /tmp/ui
cd /tmp/ui
# SvelteKit calls a build by the time at which it ran, unless the tree names it. The
# name here is the digest of the tree's files: the UI tells by it whether a browser has
# an old one, and equal trees must give equal files.
if [ -f svelte.config.js ]; then
  LLORCH_UI_VERSION=$(find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
  export LLORCH_UI_VERSION
  mv svelte.config.js svelte.config.of-the-tree.js
  cat >svelte.config.js <<'END'
import config from './svelte.config.of-the-tree.js';

const version = { name: process.env.LLORCH_UI_VERSION, ...config.kit?.version };
export default { ...config, kit: { ...config.kit, version } };
END
fi
# A network's own certificate authority comes as a secret: it is in no layer.
[ ! -s /run/llorch/ca.crt ] || export NODE_EXTRA_CA_CERTS=/run/llorch/ca.crt
export npm_config_cache=/npm npm_config_update_notifier=false
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
npm run build --loglevel=error
[ -s dist/index.html ] || { echo "the web UI's build gave no dist/index.html" >&2; exit 1; }
cp -R dist/. /out/
# The files are keyed by their content; layers hold their times as well. gzip, which
# trees of mid 2026 call on each, fails over the time 0.
find /out -exec touch -h -d @1 {} +
