#!/bin/sh
# Prints the folder of a Go that is new enough for the tools which are built here: this machine's, or one that this
# machine's fetches as a module, once, for Debian's may be years older. Modules are checked as any others are.
set -eu
command -v go >/dev/null || { echo "Go is missing, which builds the tools of charts and stories: make deps" >&2; exit 1; }
wanted=$(sed -n 's/^go //p' "$(dirname "$0")/../localkube/tools/etcd/go.mod")
has=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//; s/ .*//')
at_least() { [ "$(printf '%s\n' "$1" "$has" | sort -V | head -1)" = "$1" ]; }
if at_least "$wanted"; then
  dirname "$(command -v go)"
elif at_least 1.21; then
  echo "$(GOTOOLCHAIN=go$wanted go env GOROOT)/bin"
else
  # Older ones know nothing of other toolchains, and modules have no programs among their files.
  module=golang.org/toolchain@v0.0.1-go$wanted.$(go env GOOS)-$(go env GOARCH)
  root=$(go env GOMODCACHE)/$module
  if [ ! -x "$root/bin/go" ]; then
    echo "fetching Go $wanted" >&2
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    (cd "$scratch" && echo 'module scratch' > go.mod && go mod download "$module" >&2)
    chmod -R u+w "$root/bin" "$root/pkg/tool"
    find "$root/pkg/tool" -type f -exec chmod +x {} +
    chmod +x "$root/bin/gofmt" "$root/bin/go"
  fi
  echo "$root/bin"
fi
