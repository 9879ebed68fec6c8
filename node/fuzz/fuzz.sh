#!/bin/sh
# Every decoder, led by what its bytes reach in the code: so many seconds each (SECONDS_EACH, 60), with libFuzzer on the stable
# compiler. What reached something new is added to __fuzz__/*/corpus, what failed to __fuzz__/*/crashes; `cargo test` tries
# both. Names of targets as arguments; none: all.
set -eu
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-60}
command -v cargo-bolero >/dev/null || cargo install --locked cargo-bolero --version 0.13.5
targets=${*:-calls::calls entries::requests entries::answers entries::states disks::logs disks::snapshots files::yaml files::csv}
for target in $targets; do
  echo "== $target"
  # Instrumented builds are others than those of the tests, and keep a folder of their own.
  cargo bolero test --sanitizer NONE --engine libfuzzer --target-dir "${CARGO_TARGET_DIR:-target}/fuzz" \
    --package carrel-fuzz --max-input-length 4096 -T "${seconds}s" "$target"
done
