#!/bin/sh
# root.tar of Debian packages, for a base image where no registry is in reach: base.sh FILE PACKAGE...
# Taken from the Debian of this machine, so that what was compiled here finds the C library it was compiled for.
set -eu
out=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/root" "$scratch/archives/partial" "$scratch/state"
apt-get -qq update >&2
# As on a machine that has nothing: with all they depend on.
: > "$scratch/state/status"
apt-get -qq -y --no-install-recommends --download-only -o Dir::State::status="$scratch/state/status" \
  -o Dir::Cache::archives="$scratch/archives" -o APT::Sandbox::User=root -o Debug::NoLocking=1 install "$@" >&2
cd "$scratch/root"
mkdir -p usr/bin usr/sbin usr/lib usr/lib64 tmp
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$dir"; done
for package in "$scratch"/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink --no-same-owner
done
# Whom programs trust that call others by TLS. The package makes this file when it is installed, by tools that nobody
# needs afterwards: so it is taken without them.
(cd "$scratch/archives" && apt-get -qq -o APT::Sandbox::User=root download ca-certificates >&2 && dpkg-deb -x ca-certificates_*.deb "$scratch/authorities")
mkdir -p etc/ssl/certs
cat "$scratch"/authorities/usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt
# Nobody reads, compiles or runs these there.
rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug usr/share/perl* \
  usr/lib/*/perl* usr/lib/*/libLLVM* usr/lib/llvm* usr/lib/postgresql/*/lib/llvmjit* usr/lib/postgresql/*/lib/bitcode \
  var/cache var/lib/dpkg etc/apt
[ -e bin/sh ] || [ ! -e bin/dash ] || ln -s dash bin/sh
mkdir -p etc tmp
chmod 1777 tmp
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n' > etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' > etc/group
tar -c --sort=name --owner=0 --group=0 --numeric-owner -f "$out" .
