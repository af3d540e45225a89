# Builds the web UI in /src/tools/ui by its own lock file, into /out. Its packages
# come from npm's registry.
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
npm_config_cache=/npm
. /llorch/npm-ci.sh
npm run build --loglevel=error
[ -s dist/index.html ] || { echo "the web UI's build gave no dist/index.html" >&2; exit 1; }
cp -R dist/. /out/
# The files are keyed by their content; layers hold their times as well. gzip, which
# trees of mid 2026 call on each, fails over the time 0.
find /out -exec touch -h -d @1 {} +
