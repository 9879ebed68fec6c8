#!/bin/sh
# The page in a real Chromium against a real cluster. Needs the program built (`cargo build`, as `cargo test` does), Node
# and Chromium; without a Chromium to be had it says so and lets the other tests stand.
set -eu
cd "$(dirname "$0")"
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
if [ -z "$chromium" ] || ! command -v npm >/dev/null; then
  echo "SKIPPED: the page's tests need Chromium and npm (Debian: apt-get install chromium npm), and there is none here."
  exit 0
fi
if ! cmp -s package-lock.json node_modules/.installed; then
  npm ci --silent --no-audit --no-fund
  cp package-lock.json node_modules/.installed
fi
if [ -n "${PICTURES:-}" ]; then CHROMIUM=$chromium exec node pictures.js; fi
CHROMIUM=$chromium exec node --test-reporter=spec main.js
