#!/bin/sh
# Measures, and keeps what was measured: one report for each table below docs/reports/, with commit, date, machine, the
# commands and what they printed. Each table runs by itself: figures.sh failover once. One that fails says so in its
# report and stops none of the others.
#
# CARREL_FIGURES_PORT: the first of 160 ports for the clusters that are started.
# CARREL_FIGURES_BINARY: a carrel that is built already, of this commit.
# CARREL_FIGURES_PROFILE: another profile of Cargo's than release, for tables that say what is used at most.
set -u
cd "$(dirname "$0")/../.."
reports=docs/reports
port="${CARREL_FIGURES_PORT:-7600}"
profile="${CARREL_FIGURES_PROFILE:-release}"
folder=$profile
test "$folder" != dev || folder=debug
binary="${CARREL_FIGURES_BINARY:-${CARGO_TARGET_DIR:-target}/$folder/carrel}"
tables='domain curve rules damaged rush load speed contention watchers failover once bits crashes snapshot overload'
tables="$tables operator projection reports observe chaos"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
failed=''

commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
if [ -n "$(git status --porcelain -- . ":!$reports" 2>/dev/null)" ]; then
  commit="$commit, with changes that are not committed"
fi

# What a reader types, and what it printed. Markdown, unless it is said to be text.
measure() {
  kind=$1
  shift
  said=$(echo "$*" | sed "s,$binary,carrel,g; s,[^ ]*/\(carrel-peers\|etcd\)\(-[0-9]*\)\{0\,1\}\( \|$\),\1 ,g")
  echo "figures: $said" >&2
  printf '\n```\n%s\n```\n\n' "$said"
  test "$kind" = markdown || echo '```'
  "$@" > "$scratch/out" 2> "$scratch/err"
  code=$?
  # Criterion rewrites its lines for terminals.
  grep -v '^Benchmarking' "$scratch/out"
  test "$code" = 0 || tail -20 "$scratch/err"
  test "$kind" = markdown || echo '```'
  if [ "$code" != 0 ]; then
    printf '\n**It failed, with exit code %s.**\n' "$code"
    touch "$scratch/failed"
  fi
}

# A test that is asked for more than usual. It says at length how it goes, and writes its tables where it is told to.
tested() {
  echo "figures: $*" >&2
  printf '\n```\n%s\n```\n\n' "$*"
  rm -f "$scratch/tables"
  env CARREL_REPORT="$scratch/tables" "$@" --nocapture >&2 || {
    printf '**It failed.**\n\n'
    touch "$scratch/failed"
  }
  test ! -e "$scratch/tables" || cat "$scratch/tables"
}

carrel() {
  measure markdown "$binary" bench "$@" --port "$port"
}

table() {
  case $1 in
    domain)
      echo '# One booking in the pure core'
      header
      measure text cargo bench --locked --package carrel-domain --bench apply
      ;;
    curve)
      echo '# What things cost as a library grows'
      header
      measure markdown cargo bench --locked --package carrel-domain --bench curve
      ;;
    rules)
      echo '# The rules beside a naive reading of them'
      header
      measure text env CARREL_COMMANDS="${CARREL_COMMANDS:-10000000}" \
        cargo test --release --locked --package carrel-domain --test reference -- --nocapture
      echo 'Every kind of request, in cases of sixty steps on the average, with every invariant looked at after each step:'
      measure text env PROPTEST_CASES="${CARREL_CASES:-175000}" \
        cargo test --release --locked --package carrel-domain --test properties -- invariants_hold --nocapture
      ;;
    damaged)
      echo '# Bytes that nobody wrote, decoded and applied'
      header
      measure text env CARREL_DAMAGED="${CARREL_DAMAGED:-10000000}" \
        cargo test --release --locked --package carrel-domain --test damaged -- --nocapture
      ;;
    rush)
      echo '# Five thousand people, five hundred seats, one second, and the leader dies'
      header
      measure text cargo test --release --locked --package carrel-node --test replication -- everybody_at_the_door \
        --nocapture
      ;;
    load)
      echo '# Bookings, searches and reads on three replicas'
      header
      carrel bookings --replicas 3 --clients 1,50,200,1000 --seconds 15
      carrel bookings --replicas 3 --clients 200 --rate 1000 --seconds 15
      carrel searches --replicas 3 --clients 1,50,200 --seconds 15
      carrel reads --replicas 3 --clients 1,50,200 --seconds 15
      carrel pages --replicas 3 --clients 1,50,200 --seconds 15
      carrel pages --replicas 3 --clients 1,50,200 --seconds 15 --freshness local
      carrel mixed --replicas 3 --clients 1,50,200,1000 --seconds 15
      carrel messages --replicas 3 --clients 1,50,200 --seconds 15
      carrel check-ins --replicas 3 --clients 1,50,200 --seconds 15
      ;;
    speed)
      echo '# Beside etcd, and beside one Postgres'
      header
      peers="${CARGO_TARGET_DIR:-target}/$folder/carrel-peers"
      etcd=$(node/peers/etcd/build.sh) &&
        cargo build --profile "$profile" --locked --workspace --bin carrel-peers >&2 ||
        touch "$scratch/failed"
      measure markdown "$peers" --carrel "$binary" --etcd "$etcd" --port "$((port + 100))" --reports "$reports" \
        --clients "${CARREL_PEERS_CLIENTS:-1,50,200,1000}" --seconds "${CARREL_PEERS_SECONDS:-5}" \
        --repeats "${CARREL_PEERS_REPEATS:-3}"
      cat node/peers/fairness.md
      ;;
    contention)
      echo '# Everybody at once for fifty seats of one slot'
      header
      carrel rush --replicas 3 --clients 50,200,1000 --seats 50
      ;;
    watchers)
      echo '# A thousand live seat maps, and two thousand changes a second'
      header
      carrel watchers --streams 1000 --rate 2000 --seconds 15
      ;;
    failover)
      echo '# A leader is killed, or asked to end, while people book'
      header
      carrel failover --clients 20 --tries 20
      ;;
    once)
      echo '# Commands sent again have their effect once'
      header
      carrel once --commands 100000 --clients 50 --repeated 30 --leader-changes 10
      ;;
    bits)
      echo '# Every single bit flip over a log and a snapshot'
      header
      tested CARREL_EVERY_BIT=1 cargo test --release --locked --package carrel-node --test storage -- no_wrong_bit_in \
        --test-threads 1
      ;;
    crashes)
      echo '# Every state that a loss of power may leave of a log'
      header
      tested CARREL_CRASH_STATES="${CARREL_CRASH_STATES:-100000}" \
        cargo test --release --locked --package carrel-node --test storage -- nothing_acknowledged_is_lost
      ;;
    snapshot)
      echo '# A snapshot of a million claims beside writes, a restart from it, and the memory of a claim'
      header
      tested CARREL_SNAPSHOT_CLAIMS=1000000 cargo test --release --locked --package carrel-node --test storage -- \
        writes_go_on
      ;;
    overload)
      echo '# Five times too much, and what becomes of it'
      header
      tested CARREL_OVERLOAD_SECONDS="${CARREL_OVERLOAD_SECONDS:-30}" \
        cargo test --release --locked --package carrel-node --test overload --
      ;;
    operator)
      echo '# Fifty settled clusters in one operator, and the worlds that its planner was tried in'
      header
      tested CARREL_OPERATOR_CLUSTERS="${CARREL_OPERATOR_CLUSTERS:-50}" \
        CARREL_OPERATOR_SECONDS="${CARREL_OPERATOR_SECONDS:-600}" \
        cargo test --profile "$profile" --locked --package carrel-operator --test apiserver -- quiet::
      tested cargo test --profile "$profile" --locked --package carrel-membership --test walk -- \
        no_world_in_reach_breaks_a_promise
      ;;
    projection)
      echo '# The relational record'
      header
      echo 'Two clusters by turns, of which one keeps a record in Postgres, as fast as they answer, and at a rate:'
      carrel record --replicas 3 --clients 200 --seconds 10 --pairs "${CARREL_RECORD_PAIRS:-8}"
      carrel record --replicas 3 --clients 200 --seconds 10 --pairs "${CARREL_RECORD_PAIRS:-8}" --rate 1000
      echo 'Postgres away for five minutes of bookings, which the cluster keeps for it; and for longer than it keeps them:'
      tested CARREL_PROJECTION_OUTAGE_SECONDS="${CARREL_PROJECTION_OUTAGE_SECONDS:-300}" \
        CARREL_PROJECTION_OUTAGE_RATE="${CARREL_PROJECTION_OUTAGE_RATE:-3000}" \
        cargo test --release --locked --package carrel-node --test projection -- nobodys_outage
      tested CARREL_PROJECTION_OUTAGE_SECONDS="${CARREL_PROJECTION_OUTAGE_SECONDS:-300}" \
        cargo test --release --locked --package carrel-node --test projection -- nobodys_outage
      echo 'Kills and cuts, half of them between COMMIT and its reply:'
      tested CARREL_PROJECTION_INTERRUPTIONS="${CARREL_PROJECTION_INTERRUPTIONS:-200}" \
        cargo test --release --locked --package carrel-node --test projection -- kills_and_cuts
      ;;
    reports)
      echo '# Reports over ten million reservations'
      header
      tested CARREL_HISTORY_ROWS="${CARREL_HISTORY_ROWS:-10000000}" \
        cargo test --release --locked --package carrel-node --test projection -- years_of_history
      ;;
    observe)
      echo '# What it costs to be looked at'
      header
      echo 'Two clusters by turns, of which one counts and is scraped, and one does neither. Wanted: 97 % of the bookings.'
      carrel instrumentation --cost-of metrics --pairs "${CARREL_OBSERVE_PAIRS:-20}"
      for share in 0 0.01 1; do
        echo "Two that count, of which one is traced, too, and records and sends a share of $share:"
        carrel instrumentation --cost-of traces --sampled "$share" --pairs "${CARREL_OBSERVE_PAIRS:-20}"
      done
      echo 'One scrape by HTTP of a large library. Wanted: under 5 ms and 200 KiB.'
      tested cargo test --release --locked --package carrel-node --test observe -- fifty_branches
      ;;
    chaos)
      echo '# Ten minutes of faults on real processes'
      header
      tested CARREL_CHAOS_SECONDS="${CARREL_CHAOS_SECONDS:-600}" \
        cargo test --release --locked --package carrel-node --test chaos --
      ;;
    *)
      echo "There is no table $1, only $tables." >&2
      exit 2
      ;;
  esac
}

header() {
  printf '\nCommit %s. %s.\n' "$commit" "$(date -u '+%Y-%m-%d %H:%M UTC')"
  printf 'On %s.\n' "$("$binary" bench machine)"
}

# shellcheck disable=SC2086  # the names are words
test $# -gt 0 || set -- $tables
for name in "$@"; do
  case " $tables " in *" $name "*) ;; *) table "$name" ;; esac
done
test -n "${CARREL_FIGURES_BINARY:-}" || cargo build --profile "$profile" --locked --bin carrel || exit 1
mkdir -p "$reports"
for name in "$@"; do
  rm -f "$scratch/failed"
  table "$name" > "$scratch/report"
  mv "$scratch/report" "$reports/$name.md"
  test ! -e "$scratch/failed" || failed="$failed $name"
  echo "figures: $reports/$name.md" >&2
done
if [ -n "$failed" ]; then
  echo "Not as it should be:$failed. The reports say why." >&2
  exit 1
fi
