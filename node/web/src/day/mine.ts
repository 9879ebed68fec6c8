// One's own reservations and places in line, shared by all views: looked up again after everything that may change them.

import { createEffect, on } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { type Reservation, Reservation_Origin, Reservation_State } from "../gen/carrel/v1/reservation_pb";
import { type WaitlistEntry, WaitlistEntry_State } from "../gen/carrel/v1/waitlist_pb";
import { reservations as service, waitlist } from "../rpc/clients";
import { ask } from "../rpc/link";
import { noteSessionOver, user } from "../session";
import { ms, now } from "../time";
import type { SeatState, When } from "../seats/live";

const [mine, setMine] = createStore<{ upcoming: Reservation[]; waits: WaitlistEntry[]; isKnown: boolean }>({
  upcoming: [],
  waits: [],
  isKnown: false,
});
export { mine };

/** The most recent question; an earlier one that is answered later is not listened to. */
let asked = 0;

export async function refreshMine() {
  const turn = ++asked;
  if (!user()) return setMine({ upcoming: [], waits: [], isKnown: false });
  try {
    const [found, waits] = await Promise.all([
      ask(() => service.listReservations({ upcomingOnly: true, pageSize: 100 })),
      ask(() => waitlist.listWaitlistEntries({ pageSize: 100 })),
    ]);
    if (turn !== asked) return;
    const upcoming = [...found.reservations].sort((a, b) => ms(a.startTime) - ms(b.startTime));
    const live = [WaitlistEntry_State.WAITING, WaitlistEntry_State.OFFERED];
    setMine("upcoming", reconcile(upcoming, { key: "name" }));
    setMine("waits", reconcile(waits.entries.filter((entry) => live.includes(entry.state)), { key: "name" }));
    setMine("isKnown", true);
  } catch (error) {
    noteSessionOver(error);
  }
}

/** Puts what a node has just said about a reservation in the place of what was known of it. */
export function noteReservation(changed: Reservation | undefined) {
  if (!changed) return;
  asked++;
  const others = mine.upcoming.filter((one) => one.name !== changed.name);
  const upcoming = isLive(changed) ? [...others, changed] : others;
  setMine("upcoming", reconcile(upcoming.sort((a, b) => ms(a.startTime) - ms(b.startTime)), { key: "name" }));
  void refreshMine();
}

export function isLive(reservation: Reservation): boolean {
  const { HELD, CONFIRMED, CHECKED_IN, AWAY } = Reservation_State;
  return [HELD, CONFIRMED, CHECKED_IN, AWAY].includes(reservation.state);
}

export const isOffer = (one: Reservation) =>
  one.state === Reservation_State.HELD && one.origin === Reservation_Origin.OFFER;

/** What oneself has on a seat at a time. */
export function claimOn(seat: string, time: When): SeatState | undefined {
  const found = mine.upcoming.find(
    (one) => one.seat === seat && ms(one.startTime) < time.end && ms(one.endTime) > time.start,
  );
  if (!found) return undefined;
  return found.state === Reservation_State.HELD ? "held" : "mine";
}

/** Called once, by the shell. */
export function keepMineFresh() {
  createEffect(on(user, () => void refreshMine()));
  // A deadline passes without anybody doing anything.
  let last = 0;
  createEffect(
    on(now, (time) => {
      const due = mine.upcoming.some((one) => {
        const moments = [ms(one.deadline), ms(one.endTime)].filter(Boolean);
        return moments.some((moment) => moment <= time && moment > last);
      });
      if (due && last) setTimeout(() => void refreshMine(), 1_200);
      last = time;
    }),
  );
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void refreshMine();
  });
}
