#!/usr/bin/env bash
# Tells the stories: run.sh [--short | STORY...]. On the cluster of KUBECONFIG if that is set, whose pods and names must
# be in reach from here; else on kind, if it and a container engine are there; else on localkube. A localkube or kind
# that was not there before is ended again.
#
# The short form is told of debug builds, all others of release builds. CARREL_E2E_PROFILE: release or debug, whatever is
# told. CARREL_E2E_PROGRAMS: a folder with carrel and carrel-operator, which are compiled otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
profile=release
[[ " $* " != *' --short '* ]] || profile=debug
profile=${CARREL_E2E_PROFILE:-$profile}
programs=$(realpath -m "${CARREL_E2E_PROGRAMS:-$target/$profile}")
version=$(sed -n 's/^appVersion: //p' charts/carrel/Chart.yaml)
localkube=$PWD/e2e/localkube/localkube
ends=()
end() { for (( at = ${#ends[@]} - 1; at >= 0; at-- )); do ${ends[at]} || true; done; }
trap end EXIT
# Whoever waits for somebody in the background is told at once, and ends what it has begun.
trap 'kill "${telling:-}" 2>/dev/null; exit 1' INT TERM

# Built before anything enters the cluster's network, from which nothing else is in reach.
what=(--bin carrel --bin carrel-operator --bin carrel-e2e)
[[ -z ${CARREL_E2E_PROGRAMS:-} ]] || what=(--bin carrel-e2e)
case $profile in
  release) what+=(--release) ;;
  # In CI after the tests, and with what they depend on, so that nothing they have compiled is compiled in another form.
  debug) [[ -z ${CI:-} ]] || what+=(--tests) ;;
  *) echo "run.sh: $profile is neither release nor debug" >&2; exit 2 ;;
esac
cargo build --locked "${what[@]}"
stories=$target/$profile/carrel-e2e
ground=localkube
if [[ -n ${KUBECONFIG:-} ]]; then
  ground=given
elif command -v kind >/dev/null && { command -v docker || command -v podman; } >/dev/null; then
  ground=kind
else
  # What builds images, too.
  $localkube deps
fi
helm=$(e2e/tools/helm.sh "${CARREL_E2E_HELM_VERSION:-4}")
images/build.sh "$programs"
# The same, under another name: what is rolled out is another image to Kubernetes.
images=("localhost/carrel:$version" "localhost/carrel-postgres:$version")
next=localhost/carrel:$version-next
for engine in buildah podman docker; do command -v $engine >/dev/null && break; done
$engine tag "localhost/carrel:$version" "$next"

inside=()
if [[ $ground = given ]]; then
  images/load.sh "${images[@]}" "$next"
elif [[ $ground = kind ]]; then
  export KUBECONFIG=$target/e2e/kind.kubeconfig
  mkdir -p "$(dirname "$KUBECONFIG")"
  kind create cluster --name carrel-e2e --config manifests/kind/cluster.yaml --kubeconfig "$KUBECONFIG"
  ends+=("kind delete cluster --name carrel-e2e")
  images/load.sh "${images[@]}" "$next"
  # From the network of a node of it, with the cluster's names.
  pid=$(docker inspect --format '{{.State.Pid}}' carrel-e2e-control-plane)
  kind get kubeconfig --name carrel-e2e --internal > "$KUBECONFIG"
  echo "nameserver $(kubectl --namespace kube-system get service kube-dns --output jsonpath='{.spec.clusterIP}')" \
    > "$(dirname "$KUBECONFIG")/resolv.conf"
  inside=(sudo --preserve-env nsenter --net --target "$pid" unshare --mount sh -c
    'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$(dirname "$KUBECONFIG")/resolv.conf")
else
  if ! $localkube is-up; then
    ends+=("$localkube down")
    $localkube up 3
  fi
  unset KUBECONFIG
  images/load.sh "${images[@]}" "$next"
  export CARREL_E2E_LOCALKUBE=$localkube
  inside=("$localkube" exec)
fi
export CARREL_E2E_HELM=$helm CARREL_E2E_BUILD=$profile
# A landing is about what happens, not about how fast: nobody calls for an election who waits for a processor alone.
calm=()
[[ " $* " != *' --short '* ]] || for value in heartbeatMs=200 electionMinMs=1000 electionMaxMs=2000; do
  calm+=(--set "raft.$value")
done
"${inside[@]}" "$stories" --dumps "$target/e2e" "${calm[@]}" "$@" &
telling=$!
wait $telling
