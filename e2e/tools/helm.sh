#!/bin/sh
# Builds the Helm that the chart is tested with, as its go.mod says, once per version of that file, into the user's
# cache, and prints where it lies: helm.sh 4, or helm.sh 3.
set -eu
cd "$(dirname "$0")/helm$1"
bin="${XDG_CACHE_HOME:-$HOME/.cache}/carrel/bin"
helm="$bin/helm$1-$(cat go.mod go.sum | cksum | cut -d' ' -f1)"
if [ ! -x "$helm" ]; then
  PATH=$(../go.sh):$PATH
  mkdir -p "$bin"
  echo "building Helm $1, once" >&2
  CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$helm.part" "helm.sh/helm/v$1/cmd/helm" >&2
  mv "$helm.part" "$helm"
fi
echo "$helm"
