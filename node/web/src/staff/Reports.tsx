// How a branch is used: how full each hour of each day was, when people do not come, and every area in a line.

import { createEffect, createMemo, createSignal, For, on, onCleanup, Show } from "solid-js";
import {
  type GetNoShowsResponse_Line as NoShows,
  type GetPeaksResponse_Line as Peak,
  type GetUtilizationResponse_Line as Use,
  type GetWaitsResponse_Line as Waits,
  Grouping,
  type ReportSource,
  ReportSource_Kind as Kind,
} from "../gen/carrel/v1/report_pb";
import { reports } from "../rpc/clients";
import { deed } from "../rpc/deed";
import { ask } from "../rpc/link";
import { refusalOf } from "../rpc/refusal";
import { areaNamed, branchNamed, lastPart } from "../seats/places";
import { noteSessionOver } from "../session";
import { Problem } from "../shell/Problem";
import { download } from "../shell/download";
import { clock, DAY, dateOf, dayOf, HOUR, interval, midnight, ms, now } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";
import type { Place } from "./Staff";

/** Of days from today on, or up to today: today is among them either way. */
const PERIODS = [
  { first: -6, days: 7 },
  { first: -27, days: 28 },
  { first: 0, days: 7 },
];
/** Days asked about at once. */
const AT_ONCE = 4;
/** How long a file may take on its way. */
const EXPORT_MS = 120_000;

interface Report {
  noShows: NoShows[];
  areas: { use: Use; noShows?: NoShows; waits?: Waits; peak?: Peak }[];
  source?: ReportSource;
}

interface Day {
  start: number;
  hours: Use[];
}

/** Of what is used at all so much is seen. */
const SEEN_MIN = 0.08;

const shade = (share: number) => String(share ? SEEN_MIN + (1 - SEEN_MIN) * share : 0);
const percent = (share: number) => `${Math.round(share * 100)} %`;
const hourOf = (group: string) => Number(group.slice(0, 2));

export default function Reports(props: { place: Place }) {
  const [period, setPeriod] = createSignal(PERIODS[0]!);
  /** Nobody has come yet, or not. */
  const isAhead = () => period().first === 0;
  const [report, setReport] = createSignal<Report>();
  const [heat, setHeat] = createSignal<Day[]>([]);
  const [fault, setFault] = createSignal("");
  const { isBusy, problem, perform } = deed(() => props.place.zone);
  const zone = () => props.place.zone;
  /** The start of today, or of another day. */
  const startOf = (offset: number) => {
    const today = midnight(dateOf(now(), zone()), zone());
    return midnight(dateOf(today + offset * DAY + 2 * HOUR, zone()), zone());
  };
  const scope = (from: number, to: number) => ({ branch: props.place.branch, interval: interval(from, to) });
  const whole = () => scope(startOf(period().first), startOf(period().first + period().days));

  const load = async (signal: AbortSignal) => {
    const [ofAll, byArea] = [whole(), Grouping.AREA];
    const { first, days } = period();
    const starts = Array.from({ length: days }, (_, day) => startOf(first + day));
    const rows = starts.map((start): Day => ({ start, hours: [] }));
    const ends = [...starts.slice(1), startOf(first + days)];
    const queue = rows.map((_, day) => day);
    const work = async () => {
      for (let day = queue.shift(); day !== undefined && !signal.aborted; day = queue.shift()) {
        const [here, within] = [day, scope(starts[day]!, ends[day]!)];
        const { lines } = await ask(() => reports.getUtilization({ scope: within, grouping: Grouping.HOUR }));
        rows[here] = { start: starts[here]!, hours: lines };
      }
    };
    const [use, noShows, byHour, waits, peaks] = await Promise.all([
      ask(() => reports.getUtilization({ scope: ofAll, grouping: byArea })),
      ask(() => reports.getNoShows({ scope: ofAll, grouping: byArea })),
      ask(() => reports.getNoShows({ scope: ofAll, grouping: Grouping.HOUR })),
      ask(() => reports.getWaits({ scope: ofAll, grouping: byArea })),
      ask(() => reports.getPeaks({ scope: ofAll, grouping: byArea })),
      ...Array.from({ length: AT_ONCE }, work),
    ]);
    if (signal.aborted) return;
    const of = <L extends { group: string }>(lines: L[], group: string) => lines.find((line) => line.group === group);
    setHeat(rows);
    setReport({
      noShows: byHour.lines,
      areas: use.lines.map((line) => ({
        use: line,
        noShows: of(noShows.lines, line.group),
        waits: of(waits.lines, line.group),
        peak: of(peaks.lines, line.group),
      })),
      source: use.source,
    });
  };
  createEffect(
    on([() => props.place.branch, period], () => {
      const stop = new AbortController();
      setReport(undefined);
      setFault("");
      load(stop.signal).catch((error) => {
        if (!stop.signal.aborted && !noteSessionOver(error)) setFault(inWords(refusalOf(error), zone()));
      });
      onCleanup(() => stop.abort());
    }),
  );
  const exportAll = async () => {
    const pieces = await perform(async () => {
      const pieces: Uint8Array<ArrayBuffer>[] = [];
      const frames = reports.exportReservations({ scope: whole() }, { timeoutMs: EXPORT_MS });
      for await (const { csv } of frames) pieces.push(new Uint8Array(csv));
      return pieces;
    });
    if (pieces) download(`${lastPart(props.place.branch)}.csv`, "text/csv", pieces);
  };

  return (
    <section class="reports" aria-label={t().desk.reports}>
      <div class="bar">
        <div class="segments" role="group" aria-label={t().period}>
          <For each={PERIODS}>
            {(one) => (
              <button type="button" aria-pressed={period() === one} onClick={() => setPeriod(one)}>
                {one.first === 0 ? t().nextDays(one.days) : t().lastDays(one.days)}
              </button>
            )}
          </For>
        </div>
        <button type="button" class="small plain" disabled={isBusy()} onClick={() => void exportAll()}>
          {t().exportCsv}
        </button>
      </div>
      <Problem text={fault() || problem()} />
      <Show when={report()} fallback={<Show when={!fault()}><div class="waiting map" aria-hidden="true" /></Show>}>
        {(here) => (
          <>
            <Heat days={heat()} zone={zone()} />
            <Show when={!isAhead()}>
              <NoShowBars lines={here().noShows} />
            </Show>
            <Areas report={here()} isAhead={isAhead()} />
            <p class="quiet">
              {(here().source?.kind === Kind.RECORD ? t().fromRecord : t().fromNodes)(
                clock(ms(here().source?.appliedTime) || now(), zone()),
              )}{" "}
              {branchNamed(props.place.branch)?.displayName}
            </p>
          </>
        )}
      </Show>
    </section>
  );
}

/** A row for each day, a column for each hour at which anything is open on any of them. */
function Heat(props: { days: Day[]; zone: string }) {
  const hours = createMemo(() => {
    const open = props.days.flatMap((day) => day.hours.filter((hour) => hour.openMinutes > 0n));
    return [...new Set(open.map((hour) => hour.group))].sort();
  });
  const of = (day: Day, group: string) => day.hours.find((hour) => hour.group === group);
  return (
    <figure class="chart">
      <figcaption id="heat">{t().fullness}</figcaption>
      <Show when={hours().length} fallback={<p class="quiet">{t().nothingFound}</p>}>
        <table class="heat" aria-labelledby="heat">
          <thead>
            <tr>
              <td />
              <For each={hours()}>
                {(hour) => (
                  <th scope="col">
                    <span classList={{ minor: hourOf(hour) % 3 !== 0 }}>{hourOf(hour)}</span>
                  </th>
                )}
              </For>
            </tr>
          </thead>
          <tbody>
            <For each={props.days}>
              {(day) => (
                <tr>
                  <th scope="row">{dayOf(day.start, props.zone)}</th>
                  <For each={hours()}>
                    {(hour) => {
                      const use = () => of(day, hour);
                      const isOpen = () => (use()?.openMinutes ?? 0n) > 0n;
                      return (
                        <td
                          classList={{ shut: !isOpen() }}
                          style={{ "--share": shade(use()?.keptShare ?? 0) }}
                          title={`${hour}: ${isOpen() ? percent(use()!.keptShare) : t().closed}`}
                        >
                          <span class="sr">{isOpen() ? percent(use()!.keptShare) : t().closed}</span>
                        </td>
                      );
                    }}
                  </For>
                </tr>
              )}
            </For>
          </tbody>
        </table>
        <p class="scale quiet" aria-hidden="true">
          0 % <i /> 100 %
        </p>
      </Show>
    </figure>
  );
}

/** As high as reservations came due in that hour; the dark part of it is nobody. */
function NoShowBars(props: { lines: NoShows[] }) {
  const due = createMemo(() => props.lines.filter((line) => line.dueCount > 0n));
  const span = createMemo(() => {
    const hours = due().map((line) => hourOf(line.group));
    if (!hours.length) return [];
    const first = Math.min(...hours);
    return Array.from({ length: Math.max(...hours) - first + 1 }, (_, hour) => {
      const found = due().find((line) => hourOf(line.group) === first + hour);
      return { hour: first + hour, due: Number(found?.dueCount ?? 0), missing: Number(found?.noShowCount ?? 0) };
    });
  });
  const highest = () => Math.max(1, ...span().map((one) => one.due));
  return (
    <figure class="chart">
      <figcaption>
        {t().noShowsByHour}{" "}
        <span class="quiet">
          {t().ofDue(
            span().reduce((sum, one) => sum + one.missing, 0),
            span().reduce((sum, one) => sum + one.due, 0),
          )}
        </span>
      </figcaption>
      <Show when={span().length} fallback={<p class="quiet">{t().nothingFound}</p>}>
        <ol class="bars">
          <For each={span()}>
            {(one) => (
              <li title={`${one.hour}:00 · ${t().ofDue(one.missing, one.due)}`}>
                <span class="sr">{t().ofDue(one.missing, one.due)}</span>
                <span class="column-of" aria-hidden="true">
                  <i class="came" style={{ "--share": String((one.due - one.missing) / highest()) }} />
                  <i class="missing" style={{ "--share": String(one.missing / highest()) }} />
                </span>
                <b>{one.hour}</b>
              </li>
            )}
          </For>
        </ol>
        <p class="key quiet" aria-hidden="true">
          <span>
            <i class="came" /> {t().came}
          </span>
          <span>
            <i class="missing" /> {t().noShows}
          </span>
        </p>
      </Show>
    </figure>
  );
}

function Areas(props: { report: Report; isAhead: boolean }) {
  return (
    <figure class="chart">
      <figcaption id="by-area">{t().byArea}</figcaption>
      <div class="sideways" tabindex="0" role="region" aria-labelledby="by-area">
        <table class="numbers">
          <thead>
            <tr>
              <th scope="col">{t().area}</th>
              <th scope="col">{t().seats}</th>
              <th scope="col">{t().bookedShare}</th>
              <Show when={!props.isAhead}>
                <th scope="col">{t().usedShare}</th>
                <th scope="col">{t().noShows}</th>
                <th scope="col">{t().waitedAndGot}</th>
              </Show>
              <th scope="col">{t().mostAtOnce}</th>
            </tr>
          </thead>
          <tbody>
            <For each={props.report.areas}>
              {({ use, noShows, waits, peak }) => (
                <tr>
                  <th scope="row">{areaNamed(use.group)?.displayName ?? lastPart(use.group)}</th>
                  <td>{String(use.seatCount)}</td>
                  <td>{percent(use.keptShare)}</td>
                  <Show when={!props.isAhead}>
                    <td>{percent(use.usedShare)}</td>
                    <td>{t().ofDue(Number(noShows?.noShowCount ?? 0), Number(noShows?.dueCount ?? 0))}</td>
                    <td>{t().ofDue(Number(waits?.fulfilledCount ?? 0), Number(waits?.waitCount ?? 0))}</td>
                  </Show>
                  <td>{String(peak?.peakCount ?? 0)}</td>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </div>
    </figure>
  );
}
