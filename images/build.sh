#!/bin/sh
# localhost/carrel and localhost/carrel-postgres, with buildah, podman or docker: build.sh [FOLDER WITH THE PROGRAMS]
# Bases are made once; CARREL_IMAGE_BASE names another for carrel. Ends with their sizes.
set -eu
cd "$(dirname "$0")/.."
programs=${1:-${CARGO_TARGET_DIR:-target}/release}
version=$(sed -n 's/^appVersion: //p' charts/carrel/Chart.yaml)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for engine in buildah podman docker; do command -v "$engine" >/dev/null && break; done
command -v "$engine" >/dev/null || { echo "images: needs buildah, podman or docker" >&2; exit 1; }

build() { # TAG DOCKERFILE CONTEXT OPTIONS...
  tag=$1 file=$2 context=$3
  shift 3
  case $engine in
    buildah) buildah bud --quiet --layers=false --tag "$tag" --file "$file" "$@" "$context" >/dev/null ;;
    *) "$engine" build --quiet --tag "$tag" --file "$file" "$@" "$context" >/dev/null ;;
  esac
}
has() {
  case $engine in
    buildah) buildah inspect --type image "$1" >/dev/null 2>&1 ;;
    *) "$engine" image inspect "$1" >/dev/null 2>&1 ;;
  esac
}
base() { # TAG PACKAGES...
  tag=$1
  shift
  has "$tag" && return 0
  mkdir -p "$scratch/base"
  sh images/base.sh "$scratch/base/root.tar" "$@"
  build "$tag" images/base.Dockerfile "$scratch/base"
}

base=${CARREL_IMAGE_BASE:-localhost/carrel-base:2}
[ -n "${CARREL_IMAGE_BASE:-}" ] || base "$base" base-files libc6 libgcc-s1 netbase
mkdir "$scratch/carrel"
for program in carrel carrel-operator; do
  # Names of functions stay, for whoever reads a backtrace.
  strip --strip-debug -o "$scratch/carrel/$program" "$programs/$program"
done
build "localhost/carrel:$version" images/Dockerfile "$scratch/carrel" --target prebuilt --build-arg "BASE=$base"

if ! has "localhost/carrel-postgres:$version"; then
  base localhost/carrel-postgres-base:1 base-files postgresql dash coreutils
  build "localhost/carrel-postgres:$version" images/postgres.Dockerfile images
fi

for image in carrel carrel-postgres; do
  case $engine in
    buildah) size=$(buildah images --format '{{.Size}}' "localhost/$image:$version" | head -1) ;;
    *) size=$("$engine" images --format '{{.Size}}' "localhost/$image:$version" | head -1) ;;
  esac
  echo "localhost/$image:$version $size"
done
