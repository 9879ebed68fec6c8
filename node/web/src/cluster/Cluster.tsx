// The cluster as this node sees it: who leads, in which term, and how far everyone is, second by second.

import { createSignal, For, onCleanup, Show } from "solid-js";
import { type GetStatusResponse, type NodeStatus, NodeStatus_Role as Role } from "../gen/carrel/admin/v1/cluster_pb";
import { cluster } from "../rpc/clients";
import { change, follow } from "../rpc/link";
import { refusalOf } from "../rpc/refusal";
import { isAdmin } from "../session";
import { say } from "../shell/announce";
import { ownZone } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";
import { Chart, type Point, POINTS, STEP_MS } from "./Chart";

/** How far every node was at one moment, and by how much it was behind. */
interface Moment {
  time: number;
  commits: { [id: string]: number };
  lags: { [id: string]: number };
}

/** The last entry that anybody has. */
const headOf = (nodes: NodeStatus[]) => Math.max(0, ...nodes.map((node) => Number(node.lastLogIndex)));

export default function Cluster() {
  const [status, setStatus] = createSignal<GetStatusResponse>();
  const [moments, setMoments] = createSignal<Moment[]>([]);
  const stop = new AbortController();
  void follow(
    (after, signal) => cluster.watchCluster({ after }, { signal, timeoutMs: 0 }),
    (frame) => {
      if (frame.status) setStatus(frame.status);
    },
    stop.signal,
  );
  // The stream tells of changes; the charts want a point each second, and one without an answer where there was none.
  let isAsking = false;
  const look = async () => {
    if (isAsking) return;
    isAsking = true;
    const found = await cluster.getStatus({}).catch(() => undefined);
    isAsking = false;
    if (stop.signal.aborted) return;
    if (found) setStatus(found);
    note(found?.nodes ?? []);
  };
  const note = (nodes: NodeStatus[]) => {
    const known = nodes.filter((node) => node.reachable && node.commitIndex);
    const of = (value: (node: NodeStatus) => number) =>
      Object.fromEntries(known.map((node) => [String(node.id), value(node)]));
    const head = headOf(nodes);
    const moment = {
      time: Date.now(),
      commits: of((node) => Number(node.commitIndex)),
      lags: of((node) => Math.max(0, head - Number(node.appliedIndex))),
    };
    setMoments((before) => [...before, moment].slice(-POINTS));
  };
  void look();
  const timer = setInterval(() => void look(), STEP_MS);
  onCleanup(() => {
    clearInterval(timer);
    stop.abort();
  });
  const head = () => headOf(status()?.nodes ?? []);
  const ids = () => status()?.nodes.map((node) => String(node.id)) ?? [];
  const points = (of: (moment: Moment) => Point["values"]) =>
    moments().map((moment): Point => ({ time: moment.time, values: of(moment) }));
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
            <div class="charts">
              <Chart title={t().commit} points={points((moment) => moment.commits)} ids={ids()} />
              <Chart title={t().lag} points={points((moment) => moment.lags)} ids={ids()} fromZero />
            </div>
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
