// A day, and from when to when on it: two thumbs on the opening hours, each a slider of its own to the keyboard.

import { createMemo, For, Show } from "solid-js";
import { clock, DAY, dateOf, dayNumber, dayOf, HOUR, length, midnight, now, span, weekday } from "../time";
import { t } from "../words";
import type { When } from "./live";

/** As many days as fit into what a patron may book in most libraries. */
const DAYS = 14;

/** Opening hours day by day; what goes on over midnight is cut there, as reservations are. */
export function daysOf(open: When[], zone: string): [string, When[]][] {
  const days = new Map<string, When[]>();
  for (const hours of open) {
    for (let start = hours.start; start < hours.end; ) {
      const date = dateOf(start, zone);
      // A day is 23 to 25 hours long: the next one has begun for certain 26 hours after this one has.
      const next = midnight(dateOf(midnight(date, zone) + DAY + 2 * HOUR, zone), zone);
      const end = Math.min(hours.end, next);
      days.set(date, [...(days.get(date) ?? []), { start, end }]);
      start = end;
    }
  }
  return [...days].slice(0, DAYS);
}

export function TimePicker(props: {
  zone: string;
  open: When[];
  when: When | undefined;
  slot: number;
  stay: number;
  onPick: (when: When) => void;
}) {
  const days = createMemo(() => daysOf(props.open, props.zone));
  const date = () => (props.when ? dateOf(props.when.start, props.zone) : days()[0]?.[0]);
  const running = createMemo(() => Math.floor(now() / props.slot) * props.slot);
  const hours = createMemo((): When | undefined => {
    const spans = days().find(([one]) => one === date())?.[1];
    if (!spans) return undefined;
    const end = spans[spans.length - 1]!.end;
    // Of today what is left of it: the slot that is running may still be booked.
    return { start: Math.max(spans[0]!.start, Math.min(running(), end - props.slot)), end };
  });
  const slots = () => (hours() ? Math.round((hours()!.end - hours()!.start) / props.slot) : 0);
  const first = () => hours()!.start;
  const from = () => Math.round(((props.when?.start ?? first()) - first()) / props.slot);
  const to = () => Math.round(((props.when?.end ?? first()) - first()) / props.slot);
  const pick = (start: number, end: number) =>
    props.onPick({ start: first() + start * props.slot, end: first() + end * props.slot });

  const moveStart = (wanted: number) => {
    const stay = to() - from();
    const start = Math.min(wanted, slots() - 1);
    pick(start, Math.min(start + stay, slots()));
    return start;
  };
  const moveEnd = (wanted: number) => {
    const end = Math.max(wanted, from() + 1);
    pick(from(), end);
    return end;
  };
  const pickDay = (chosen: string) => {
    const spans = days().find(([one]) => one === chosen)?.[1];
    if (!spans) return;
    const stay = props.when ? props.when.end - props.when.start : props.stay;
    const [opens, closes] = [spans[0]!.start, spans[spans.length - 1]!.end];
    // The same time on the clock, as far as there are hours then.
    const wanted = props.when ? midnight(chosen, props.zone) + (props.when.start - midnight(date()!, props.zone)) : opens;
    const start = Math.min(Math.max(wanted, running(), opens), closes - props.slot);
    props.onPick({ start, end: Math.min(start + stay, closes) });
  };
  /** Whole hours, as many as there is room for. */
  const ticks = createMemo(() => {
    if (!hours()) return [];
    const { start, end } = hours()!;
    const every = Math.max(1, Math.ceil((end - start) / HOUR / 7)) * HOUR;
    const marks = [];
    for (let mark = Math.ceil(start / HOUR) * HOUR; mark <= end; mark += every) marks.push(mark);
    return marks;
  });

  return (
    <>
      <fieldset class="days">
        <legend>{t().day}</legend>
        <div class="strip">
          <For each={days()}>
            {([one, spans]) => (
              <label class="date">
                <input type="radio" name="day" checked={one === date()} onChange={() => pickDay(one)} />
                <span>
                  <span class="sr">{dayOf(spans[0]!.start, props.zone)}</span>
                  <small aria-hidden="true">{weekday(spans[0]!.start, props.zone)}</small>
                  <b aria-hidden="true">{dayNumber(spans[0]!.start, props.zone)}</b>
                </span>
              </label>
            )}
          </For>
        </div>
      </fieldset>
      <Show when={props.when && hours() ? props.when : undefined}>
        {(time) => (
          <fieldset class="times">
            <legend>{t().time}</legend>
            <output class="chosen" for="from to">
              <b>{span(time().start, time().end, props.zone)}</b>
              <span>{length(time().end - time().start)}</span>
            </output>
            <div class="slider">
              <svg class="track" viewBox={`0 0 ${slots()} 1`} preserveAspectRatio="none" aria-hidden="true">
                  <rect class="stay" x={from()} y="0" width={to() - from()} height="1" />
              </svg>
              <input
                id="from"
                type="range"
                min="0"
                max={slots()}
                step="1"
                value={from()}
                aria-label={t().from}
                aria-valuetext={clock(time().start, props.zone)}
                onInput={(e) => (e.target.value = String(moveStart(Number(e.target.value))))}
              />
              <input
                id="to"
                type="range"
                min="0"
                max={slots()}
                step="1"
                value={to()}
                aria-label={t().until}
                aria-valuetext={clock(time().end, props.zone)}
                onInput={(e) => (e.target.value = String(moveEnd(Number(e.target.value))))}
              />
            </div>
            <svg class="ticks" aria-hidden="true">
              <For each={ticks()}>
                {(mark) => (
                  <text x={`${(100 * (mark - first())) / (hours()!.end - first())}%`} y="12">
                    {clock(mark, props.zone).slice(0, 2)}
                  </text>
                )}
              </For>
            </svg>
          </fieldset>
        )}
      </Show>
    </>
  );
}
