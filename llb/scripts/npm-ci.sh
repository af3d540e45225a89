# Installs the packages that the lock file in this folder names, by npm itself: it knows
# which of them this platform takes, and checks their hashes. That none of them runs a
# script of its own is the tree's setting and made sure of here. Other scripts read this
# file; npm_config_cache is npm's cache.
# A network's own certificate authority comes as a secret: it is in no layer.
[ ! -s /run/llorch/ca.crt ] || export NODE_EXTRA_CA_CERTS=/run/llorch/ca.crt
export npm_config_cache npm_config_update_notifier=false
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
