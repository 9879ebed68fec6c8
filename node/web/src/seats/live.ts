// The seats of an area for the time that is asked about, kept right for as long as anybody looks.

import { createEffect, createMemo, createSignal, onCleanup, untrack } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import type { Seat } from "../gen/carrel/v1/seat_pb";
import { seats as service } from "../rpc/clients";
import { ask, follow } from "../rpc/link";
import { interval, ms, now } from "../time";
import { claimOn } from "../day/mine";
import { noteSessionOver } from "../session";
import { noteLabels } from "./places";

export type SeatState = "free" | "taken" | "mine" | "held";

export interface ShownSeat {
  /** "branches/main/seats/r-101" */
  name: string;
  label: string;
  /** Counted from the top of the map. */
  row: number;
  amenities: string[];
  accessible: boolean;
  x: number;
  y: number;
  state: SeatState;
  /** While free: until when; 0: not known. */
  freeUntil: number;
}

export interface When {
  start: number;
  end: number;
}

/** Changes of other times than the present are not told, only that there was some change: looked up this much later. */
const LOOK_AGAIN_MS = 150;
/** And if nobody does anything now, somebody may still have booked tomorrow. */
const LOOK_ANYWAY_MS = 5_000;
/** The most that a node gives at once; the largest areas have a fifth of that. */
const PAGE = 1_000;
/** Metres: seats less than this apart from top to bottom stand in one row. */
const ROW_HEIGHT = 0.6;

export function liveSeats(place: () => { branch: string; area: string } | undefined, when: () => When | undefined) {
  const [byName, setByName] = createStore<{ [name: string]: Seat }>({});
  const [answers, setAnswers] = createStore<{ [name: string]: Seat }>({});
  const [answeredFor, setAnsweredFor] = createSignal<When & { area: string }>();
  const [changes, setChanges] = createSignal(0);

  createEffect(() => {
    const here = place();
    if (!here) return;
    const { branch, area } = here;
    const stop = new AbortController();
    setByName(reconcile({}));
    void follow(
      (after, signal) => service.watchSeatMap({ branch, area, after }, { signal, timeoutMs: 0 }),
      ({ event }) => {
        if (event.case === "snapshot") {
          noteLabels(event.value.seats);
          setByName(reconcile(Object.fromEntries(event.value.seats.map((seat) => [seat.name, seat]))));
        } else if (event.case === "changes") {
          setByName(Object.fromEntries(event.value.seats.map((seat) => [seat.name, seat])));
        }
        if (event.case !== "bookmark") setChanges((count) => count + 1);
      },
      stop.signal,
    );
    onCleanup(() => stop.abort());
  });

  // What was asked last is what counts, whatever is answered last.
  let asked = 0;
  const lookUp = async (here: { branch: string; area: string }, time: When) => {
    const mine = ++asked;
    const found = await ask(() =>
      service.searchSeats({ ...here, interval: interval(time.start, time.end), pageSize: PAGE }),
    ).catch((error) => void noteSessionOver(error));
    if (mine !== asked || !found) return;
    setAnswers(reconcile(Object.fromEntries(found.seats.map((seat) => [seat.name, seat]))));
    setAnsweredFor({ ...time, area: here.area });
  };
  createEffect(() => {
    const [here, time] = [place(), when()];
    if (!here || !time) return;
    void lookUp(here, time);
    const timer = setInterval(() => void lookUp(here, time), LOOK_ANYWAY_MS);
    onCleanup(() => clearInterval(timer));
  });
  createEffect(() => {
    if (!changes()) return;
    const timer = setTimeout(() => {
      const [here, time] = [untrack(place), untrack(when)];
      if (here && time) void lookUp(here, time);
    }, LOOK_AGAIN_MS);
    onCleanup(() => clearTimeout(timer));
  });

  const inPlace = createMemo(() => Object.values(byName).filter((seat) => seat.area === place()?.area));
  const rows = createMemo(() => rowsOf(inPlace()));
  const isPresent = createMemo(() => (when()?.start ?? Infinity) <= now());
  const compute = (): ShownSeat[] => {
    const time = when();
    const answer = answeredFor();
    const isAnswered = time && answer?.start === time.start && answer.end === time.end && answer.area === place()?.area;
    return inPlace().map((seat) => {
      // The stream tells of the present at once, and without being asked.
      const told = isPresent() ? seat : isAnswered ? answers[seat.name] : undefined;
      const freeUntil = told?.available ? ms(told.freeUntil) : 0;
      const isFree = !!told?.available && (!isPresent() || freeUntil === 0 || freeUntil >= time!.end);
      const claim = time && claimOn(seat.name, time);
      const { name, label, accessible, x, y } = seat;
      const row = rows().get(name) ?? 1;
      const state: SeatState = claim ?? (isFree ? "free" : "taken");
      return { name, label, row, amenities: [...seat.amenities], accessible, x, y, state, freeUntil };
    });
  };
  // A seat that is as it was stays the same object, so that only what has changed is drawn anew.
  const [shown, setShown] = createStore<ShownSeat[]>([]);
  createEffect(() => setShown(reconcile(compute(), { key: "name" })));
  const isKnown = () => shown.length > 0 && (isPresent() || answeredFor() !== undefined);
  return { seats: shown, isKnown };
}

/** Of each seat the row that it stands in. */
function rowsOf(seats: Seat[]): Map<string, number> {
  const rows = new Map<string, number>();
  let [row, top] = [0, -Infinity];
  for (const seat of [...seats].sort((a, b) => a.y - b.y)) {
    if (seat.y - top > ROW_HEIGHT) [row, top] = [row + 1, seat.y];
    rows.set(seat.name, row);
  }
  return rows;
}
