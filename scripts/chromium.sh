#!/bin/sh
# The browser tests drive Chromium. Installs Debian's package when it is missing and we may.
set -u
for name in chromium chromium-browser google-chrome; do
    command -v $name >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "tagger | Installing chromium for the browser tests"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0
    echo "tagger | apt-get could not install chromium."
fi
echo "tagger | No Chromium here: the browser tests are skipped. As root: apt-get install chromium"
