// The cluster as this node sees it: who leads, in which term, and how far everyone is, second by second.

import { createMemo, createSignal, For, onCleanup, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { type GetStatusResponse, type NodeStatus, NodeStatus_Role as Role } from "../gen/carrel/admin/v1/cluster_pb";
import { cluster } from "../rpc/clients";
import { change, follow } from "../rpc/link";
import { refusalOf } from "../rpc/refusal";
import { isAdmin } from "../session";
import { say } from "../shell/announce";
import { ownZone } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";

/** Between two points of the chart. */
const STEP_MS = 1_000;
const POINTS = 90;
const WIDTH = 900;
const HEIGHT = 260;

interface Point {
  time: number;
  /** Of each node by its id; missing: nobody could say. */
  commits: { [id: string]: number };
}

export default function Cluster() {
  const [status, setStatus] = createSignal<GetStatusResponse>();
  const [chart, setChart] = createStore<{ points: Point[] }>({ points: [] });
  const stop = new AbortController();
  void follow(
    (_after, signal) => cluster.watchCluster({}, { signal, timeoutMs: 0 }),
    (frame) => {
      if (frame.status) setStatus(frame.status);
    },
    stop.signal,
  );
  const timer = setInterval(async () => {
    const found = await cluster.getStatus({}).catch(() => undefined);
    if (found) setStatus(found);
    const nodes = found?.nodes ?? [];
    const known = nodes.filter((node) => node.reachable && node.commitIndex);
    const commits = Object.fromEntries(known.map((node) => [String(node.id), Number(node.commitIndex)]));
    setChart("points", (points) => [...points, { time: Date.now(), commits }].slice(-POINTS));
  }, STEP_MS);
  onCleanup(() => {
    clearInterval(timer);
    stop.abort();
  });
  const head = () => Math.max(0, ...(status()?.nodes.map((node) => Number(node.lastLogIndex)) ?? []));
  const handOver = async (to: NodeStatus) => {
    try {
      await change(() => cluster.transferLeadership({ nodeId: to.id }));
      say(t().handedOver, "shown");
    } catch (error) {
      say(inWords(refusalOf(error), ownZone), "shown");
    }
  };
  return (
    <div class="column wide cluster">
      <h1>{t().views.cluster}</h1>
      <Show when={status()} fallback={<div class="waiting tall" aria-hidden="true" />}>
        {(here) => (
          <>
            <dl class="figures">
              <div>
                <dt>{t().leader}</dt>
                <dd data-leader={String(here().leader)}>{here().leader ? `#${here().leader}` : "–"}</dd>
              </div>
              <div>
                <dt>{t().term}</dt>
                <dd>{String(here().term)}</dd>
              </div>
              <div>
                <dt>{t().commit}</dt>
                <dd>{head().toLocaleString()}</dd>
              </div>
              <div>
                <dt>{t().answering}</dt>
                <dd>
                  {here().nodes.filter((node) => node.reachable).length} / {here().nodes.length}
                </dd>
              </div>
            </dl>
            <Chart points={chart.points} ids={here().nodes.map((node) => String(node.id))} />
            <ul class="nodes">
              <For each={here().nodes.map((node) => node.id)}>
                {(id, index) => {
                  const node = () => here().nodes.find((one) => one.id === id)!;
                  return (
                    <li class="card small-card" classList={{ here: node().role === Role.LEADER, gone: !node().reachable }}>
                      <header>
                        <div>
                          <h2>
                            <i class={`line-${index() % 5}`} aria-hidden="true" /> #{String(id)}
                          </h2>
                          <p class="quiet">{node().endpoint}</p>
                        </div>
                        <p class="state-name">{node().reachable ? t().roles[node().role] : t().noAnswer}</p>
                      </header>
                      <dl class="small-figures">
                        <div>
                          <dt>{t().commit}</dt>
                          <dd>{Number(node().commitIndex).toLocaleString()}</dd>
                        </div>
                        <div>
                          <dt>{t().lag}</dt>
                          <dd>{node().reachable ? Math.max(0, head() - Number(node().appliedIndex)) : "–"}</dd>
                        </div>
                      </dl>
                      <Show when={isAdmin() && node().role === Role.FOLLOWER && node().reachable}>
                        <button type="button" class="small plain" onClick={() => void handOver(node())}>
                          {t().handOver}
                        </button>
                      </Show>
                    </li>
                  );
                }}
              </For>
            </ul>
          </>
        )}
      </Show>
    </div>
  );
}

function Chart(props: { points: Point[]; ids: string[] }) {
  const bounds = createMemo(() => {
    const all = props.points.flatMap((point) => Object.values(point.commits));
    const low = all.length ? Math.min(...all) : 0;
    return { low, high: Math.max(low + 10, ...all), end: props.points.at(-1)?.time ?? Date.now() };
  });
  const x = (time: number) => WIDTH - ((bounds().end - time) / (POINTS * STEP_MS)) * WIDTH;
  const y = (index: number) => HEIGHT - 10 - ((index - bounds().low) / (bounds().high - bounds().low)) * (HEIGHT - 20);
  /** A node that could not be asked for a while leaves a gap. */
  const line = (id: string) => {
    let path = "";
    let isDown = false;
    for (const { time, commits } of props.points) {
      const index = commits[id];
      if (index !== undefined) path += `${isDown ? "L" : "M"}${x(time).toFixed(1)} ${y(index).toFixed(1)}`;
      isDown = index !== undefined;
    }
    return path;
  };
  return (
    <figure class="chart">
      <figcaption>
        {t().commitOverTime} <span class="quiet">{t().lastSeconds(POINTS)}</span>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={t().commitOverTime}>
        <For each={[0, 1, 2, 3, 4]}>
          {(part) => <path class="grid" d={`M0 ${10 + (part * (HEIGHT - 20)) / 4}H${WIDTH}`} />}
        </For>
        <For each={props.ids}>{(id, index) => <path class={`series line-${index() % 5}`} d={line(id)} />}</For>
        <text x="6" y="24">
          {bounds().high.toLocaleString()}
        </text>
        <text x="6" y={HEIGHT - 16}>
          {bounds().low.toLocaleString()}
        </text>
      </svg>
    </figure>
  );
}
