#!/bin/sh
# Puts localhost/carrel and localhost/carrel-postgres where a cluster of this machine finds them: kind, minikube or
# localkube, whichever is there. load.sh [IMAGE...] puts others there.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^appVersion: //p' charts/carrel/Chart.yaml)
[ $# -gt 0 ] || set -- "localhost/carrel:$version" "localhost/carrel-postgres:$version"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

context=$(kubectl config current-context 2>/dev/null || true)
if [ "$context" = localkube ] || { [ -z "${KUBECONFIG:-}" ] && e2e/localkube/localkube is-up; }; then
  into=localkube
elif [ "${context#kind-}" != "$context" ]; then
  into=kind
elif [ "$context" = minikube ]; then
  into=minikube
else
  echo "load: neither a running localkube, nor is kubectl's context kind or minikube" >&2
  exit 1
fi

for image in "$@"; do
  archive=$scratch/image.tar
  rm -f "$archive"
  if command -v buildah >/dev/null && buildah inspect --type image "$image" >/dev/null 2>&1; then
    buildah push --quiet "$image" "docker-archive:$archive:$image" >/dev/null
  elif command -v podman >/dev/null && podman image exists "$image"; then
    podman save --quiet --output "$archive" "$image"
  else
    docker save --output "$archive" "$image"
  fi
  case $into in
    localkube) e2e/localkube/localkube load "$archive" ;;
    kind) kind load image-archive "$archive" --name "${context#kind-}" ;;
    minikube) minikube image load "$archive" ;;
  esac
  echo "$image is in $into"
done
