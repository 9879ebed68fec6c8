// Instants, and how they look on the clocks of a branch.

import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { createSignal } from "solid-js";
import { locale } from "./words";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** What the clock of this device is off by; only what a person would notice is corrected. */
let offBy = 0;

export function noteServersClock(date: string | null) {
  const servers = date ? Date.parse(date) : NaN;
  if (Number.isNaN(servers)) return;
  const difference = servers + 500 - Date.now();
  offBy = Math.abs(difference) > 3_000 ? difference : 0;
  // What was just answered is not looked at by a clock that is a second late.
  setNow(Date.now() + offBy);
}

const [now, setNow] = createSignal(Date.now());
setInterval(() => setNow(Date.now() + offBy), 1_000);
/** By the clock of the cluster, a second at a time. */
export { now };

export const ms = (time: Timestamp | undefined): number => (time ? timestampMs(time) : 0);
export const at = (time: number): Timestamp => timestampFromMs(time);
export const interval = (start: number, end: number) => ({ startTime: at(start), endTime: at(end) });

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string, options: Intl.DateTimeFormatOptions, language = locale()): Intl.DateTimeFormat {
  const key = `${language} ${zone} ${JSON.stringify(options)}`;
  let found = formats.get(key);
  if (!found) formats.set(key, (found = new Intl.DateTimeFormat(language, { ...options, timeZone: zone })));
  return found;
}

export const clock = (time: number, zone: string) =>
  format(zone, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(time);
export const dayOf = (time: number, zone: string) =>
  format(zone, { weekday: "short", day: "numeric", month: "short" }).format(time);
export const weekday = (time: number, zone: string) => format(zone, { weekday: "short" }).format(time);
export const dayNumber = (time: number, zone: string) => format(zone, { day: "numeric" }).format(time);
/** "2026-11-21", to compare days and to name them. */
export const dateOf = (time: number, zone: string) =>
  format(zone, { year: "numeric", month: "2-digit", day: "2-digit" }, "en-CA").format(time);

export function span(start: number, end: number, zone: string): string {
  const last = clock(end, zone);
  return `${clock(start, zone)}–${last === "00:00" ? "24:00" : last}`;
}

/** The start of a day on the clocks of a zone. */
export function midnight(date: string, zone: string): number {
  const wanted = Date.parse(`${date}T00:00:00Z`);
  let guess = wanted;
  // Once for the zone's offset, and once more if a change of the clocks lies between.
  for (let round = 0; round < 2; round++) guess += wanted - wallClock(guess, zone);
  return guess;
}

/** What the clocks of a zone show, as if it were UTC. */
function wallClock(time: number, zone: string): number {
  const shown = format(
    zone,
    { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", hourCycle: "h23" },
    "en-US",
  ).formatToParts(time);
  const part = (type: string) => Number(shown.find((one) => one.type === type)?.value);
  return Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"));
}

/** "1:05" or "2:03:10" */
export function countdown(left: number): string {
  const seconds = Math.max(0, Math.ceil(left / 1_000));
  const two = (n: number) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** "45m", "2h", "1h 30m" in the language of the page. */
export function length(milliseconds: number): string {
  const minutes = Math.round(milliseconds / MINUTE);
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(locale(), { style: "unit", unit: name, unitDisplay: "narrow" }).format(value);
  const [h, m] = [Math.floor(minutes / 60), minutes % 60];
  return [h && unit(h, "hour"), (m || !h) && unit(m, "minute")].filter(Boolean).join(" ");
}

/** Where the hours of a place are not known yet. */
export const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
