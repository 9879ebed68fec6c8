#!/bin/sh
# Bookings, searches and reads on three replicas of a demo of its own, at several numbers of clients.
set -eu
carrel="${CARGO_TARGET_DIR:-target}/release/carrel"
dir=$(mktemp -d)
"$carrel" demo --output json --dir "$dir" --port 7600 > "$dir/ready" &
demo=$!
trap 'kill "$demo"; wait "$demo" 2>/dev/null || true; rm -rf "$dir"' EXIT
until grep -q '"ready":true' "$dir/ready"; do
  kill -0 "$demo"
  sleep 0.2
done
for load in bookings searches reads; do
  for clients in 1 50 200; do
    "$carrel" --endpoints http://127.0.0.1:7600,http://127.0.0.1:7601,http://127.0.0.1:7602 \
      bench "$load" --clients "$clients" --seconds 10
    echo
  done
done
