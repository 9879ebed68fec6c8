#!/bin/sh
# Builds the etcd that Carrel is measured beside, as go.mod says, once per version of that file, into the user's cache,
# and prints where it lies.
set -eu
cd "$(dirname "$0")"
bin="${XDG_CACHE_HOME:-$HOME/.cache}/carrel/bin"
etcd="$bin/etcd-$(cat go.mod go.sum | cksum | cut -d' ' -f1)"
if [ ! -x "$etcd" ]; then
  PATH=$(../../../e2e/tools/go.sh):$PATH
  mkdir -p "$bin"
  echo "building etcd, once" >&2
  CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$etcd.part" go.etcd.io/etcd/server/v3 >&2
  mv "$etcd.part" "$etcd"
fi
echo "$etcd"
