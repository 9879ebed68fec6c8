#!/bin/sh
# Everything about the chart that can be told without a cluster, by Helm 4 and Helm 3 alike: it is well-formed, its
# copies of other files are fresh, what it renders is what it rendered, and values that make no sense are refused.
# UPDATE_GOLDEN=1 writes what it would complain about.
set -eu
cd "$(dirname "$0")/.."
chart=charts/carrel
cases=charts/tests
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=''
complain() {
  echo "charts: $*" >&2
  failed=yes
}

# A copy is fresh if it is what `made` is; otherwise it is written, if that was asked for.
fresh() {
  made=$1 kept=$2
  cmp -s "$made" "$kept" && return 0
  if [ "${UPDATE_GOLDEN:-}" = 1 ]; then
    mkdir -p "$(dirname "$kept")"
    cp "$made" "$kept"
    echo "charts: $kept is written anew" >&2
  else
    diff -u "$kept" "$made" | head -40 >&2 || true
    complain "$kept is not what it should be: UPDATE_GOLDEN=1 charts/verify.sh writes it"
  fi
}

for definition in manifests/crd/*.yaml; do
  fresh "$definition" "$chart/crds/$(basename "$definition")"
done
for dashboard in manifests/dashboards/*.json; do
  fresh "$dashboard" "$chart/dashboards/$(basename "$dashboard")"
done
if ! gzip -dc "$chart/catalog/campus.yaml.gz" | cmp -s - node/catalog/campus.yaml; then
  gzip -9nc node/catalog/campus.yaml > "$scratch/campus.yaml.gz"
  fresh "$scratch/campus.yaml.gz" "$chart/catalog/campus.yaml.gz"
fi

# As in a cluster with the Prometheus operator, and as in one without.
render() {
  helm=$1 values=$2
  shift 2
  "$helm" template library "$chart" --namespace campus --values "$values" --kube-version 1.33.0 "$@"
}

for version in 4 3; do
  helm=$(e2e/tools/helm.sh "$version")
  for values in "$cases"/cases/*.yaml; do
    name=$(basename "$values" .yaml)
    "$helm" lint --strict --quiet "$chart" --values "$values" >&2 || complain "helm $version lint refuses $values"
    render "$helm" "$values" --api-versions monitoring.coreos.com/v1/PodMonitor \
      --api-versions monitoring.coreos.com/v1/PrometheusRule > "$scratch/out.yaml" ||
      complain "helm $version cannot render $values"
    # A password that is drawn is another each time, and each Helm leaves empty lines of its own.
    sed -E -e 's/^(  (password|uri): ).*/\1(drawn)/' -e '/^$/d' "$scratch/out.yaml" > "$scratch/$name.yaml"
    fresh "$scratch/$name.yaml" "$cases/golden/$name.yaml"
  done
  grep -v '^#' "$cases/refused.txt" | while IFS='|' read -r set expected; do
    set=$(echo "$set" | tr -d ' ') expected=$(echo "$expected" | tr -d ' ')
    if "$helm" template library "$chart" --kube-version 1.33.0 --set "$set" > /dev/null 2> "$scratch/said"; then
      echo "helm $version takes $set"
    elif ! grep -q "$expected" "$scratch/said"; then
      echo "helm $version refuses $set without a word of $expected: $(cat "$scratch/said")"
    fi
  done > "$scratch/taken"
  test ! -s "$scratch/taken" || complain "$(cat "$scratch/taken")"
  # Objects of kinds that the cluster does not know would keep all others from being installed.
  render "$helm" "$cases/cases/default.yaml" > "$scratch/alone.yaml" || complain "helm $version cannot render for a plain cluster"
  ! grep -q 'apiVersion: monitoring.coreos.com' "$scratch/alone.yaml" ||
    complain "helm $version renders what a cluster without the Prometheus operator does not know"
  # Only names that Services can have.
  ! "$helm" template 1st "$chart" --kube-version 1.33.0 > /dev/null 2>&1 || complain "helm $version takes a release called 1st"
done

# The plain install: what the chart renders for who has no Helm, less what only Helm understands.
helm=$(e2e/tools/helm.sh 4)
{
  echo "# Carrel without Helm, in the namespace carrel: rendered from charts/carrel by charts/verify.sh. Apply manifests/crd/"
  echo "# first, and make a Secret carrel-admin with a key admin: a name on its first line, a password on its second."
  "$helm" template carrel "$chart" --namespace carrel --values manifests/plain-values.yaml --kube-version 1.33.0 \
    --skip-tests | sed -e '/^$/d' -e '/^# Source:/d' -e '/helm.sh\/chart:/d' -e 's/managed-by: "Helm"/managed-by: "kubectl"/'
} > "$scratch/install.yaml"
fresh "$scratch/install.yaml" manifests/install.yaml

test -z "$failed"
