// A day of an area: a line for each seat, a bar for each stay, and above them how full each hour is.

import { createEffect, createMemo, createSignal, For, on, onCleanup, Show, untrack } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { type Reservation, Reservation_Origin as Origin, Reservation_State as State } from "../gen/carrel/v1/reservation_pb";
import type { Seat } from "../gen/carrel/v1/seat_pb";
import { reservations, seats as service } from "../rpc/clients";
import { ask } from "../rpc/link";
import { noteLabels, seatLabel } from "../seats/places";
import { noteSessionOver } from "../session";
import { Problem } from "../shell/Problem";
import { clock, DAY, dateOf, dayOf, HOUR, midnight, ms, now, span } from "../time";
import { t } from "../words";
import { Sheet } from "../shell/Sheet";
import { deed } from "../rpc/deed";
import type { Place } from "./Staff";

/** Seats whose day is asked for at once, as there is no call for all of an area. */
const AT_ONCE = 4;
/** A new round this long after the last one was over. */
const EVERY_MS = 10_000;
const PAGE = 1_000;
const ROW = 26;
const LEFT = 64;
const TOP = 44;
const WIDTH = 1_000;
/** Hours that all have their mark; of more every other one has. */
const MARKS_MAX = 14;
/** About what a letter of a name takes, and what stays empty around it. */
const LETTER = 6.4;
const PADDING = 14;

interface Hours {
  first: number;
  last: number;
}

/** As much of a name as there is room for. */
function cut(name: string, room: number): string {
  const letters = Math.floor((room - PADDING) / LETTER);
  if (name.length <= letters) return name;
  return letters < 2 ? "" : `${name.slice(0, letters - 1)}…`;
}

export function AreaDay(props: { place: Place }) {
  // Each seat and each stay is the same from one round to the next, and whoever has the keyboard on it keeps it there.
  const [seats, setSeats] = createStore<Seat[]>([]);
  const [bySeat, setBySeat] = createStore<{ [seat: string]: Reservation[] }>({});
  const [offset, setOffset] = createSignal(0);
  const [chosen, setChosen] = createSignal<Reservation>();
  const [open, setOpen] = createSignal<{ start: number; end: number }[]>([]);
  const start = createMemo(() => {
    const today = dateOf(now(), props.place.zone);
    return midnight(dateOf(midnight(today, props.place.zone) + offset() * DAY + 2 * HOUR, props.place.zone), props.place.zone);
  });
  const end = () => midnight(dateOf(start() + DAY + 2 * HOUR, props.place.zone), props.place.zone);
  const inDay = (one: Reservation) => ms(one.startTime) < end() && ms(one.endTime) > start();
  const stays = (seat: Seat) => (bySeat[seat.name] ?? []).filter(inDay);
  /** The hours at which the area is open, or somebody is there all the same; of a day without any, all of it. */
  const hoursDrawn = (): Hours => {
    const taken = seats.flatMap(stays).map((one) => ({ start: ms(one.startTime), end: ms(one.endTime) }));
    const hours = open().filter((one) => one.start < end() && one.end > start());
    if (!hours.length) return { first: start(), last: end() };
    const whole = (time: number, round: (hours: number) => number) => start() + round((time - start()) / HOUR) * HOUR;
    const first = Math.min(...[...hours, ...taken].map((one) => one.start));
    const last = Math.max(...[...hours, ...taken].map((one) => one.end));
    return { first: Math.max(start(), whole(first, Math.floor)), last: Math.min(end(), whole(last, Math.ceil)) };
  };
  const isSame = (a: Hours | undefined, b: Hours) => a?.first === b.first && a.last === b.last;
  const drawn = createMemo(hoursDrawn, undefined, { equals: isSame });
  const x = (time: number) =>
    LEFT + ((time - drawn().first) / (drawn().last - drawn().first)) * (WIDTH - LEFT);
  const from = (one: Reservation) => Math.max(LEFT, x(ms(one.startTime)));
  const room = (one: Reservation) => Math.max(4, Math.min(WIDTH, x(ms(one.endTime))) - from(one) - 2);
  const hours = createMemo(() => {
    const marks = [];
    for (let mark = drawn().first; mark < drawn().last; mark += HOUR) marks.push(mark);
    return marks;
  });
  const fullness = (hour: number) => {
    const isTaken = (one: Reservation) => ms(one.startTime) < hour + HOUR && ms(one.endTime) > hour;
    return seats.length ? seats.filter((seat) => stays(seat).some(isTaken)).length / seats.length : 0;
  };

  const load = async (place: Place, signal: AbortSignal) => {
    const { branch, area } = place;
    const found = await ask(() => service.searchSeats({ branch, area, pageSize: PAGE }));
    if (signal.aborted) return;
    noteLabels(found.seats);
    setSeats(reconcile(found.seats, { key: "name" }));
    const [first] = found.seats;
    if (first && !open().length) {
      const hours = await ask(() => service.getSeat({ name: first.name }));
      if (signal.aborted) return;
      setOpen(hours.open.map((one) => ({ start: ms(one.startTime), end: ms(one.endTime) })));
    }
    const queue = found.seats.map((seat) => seat.name);
    const work = async () => {
      for (let seat = queue.shift(); seat && !signal.aborted; seat = queue.shift()) {
        const name = seat;
        const answer = await ask(() => reservations.listSeatReservations({ seat: name }));
        setBySeat(name, reconcile(answer.reservations, { key: "name" }));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  };
  createEffect(
    on(
      () => props.place,
      (place) => {
        const stop = new AbortController();
        setSeats(reconcile([]));
        setOpen([]);
        let timer: ReturnType<typeof setTimeout>;
        const round = async () => {
          await load(place, stop.signal).catch(noteSessionOver);
          if (!stop.signal.aborted) timer = setTimeout(() => void round(), EVERY_MS);
        };
        void round();
        onCleanup(() => {
          stop.abort();
          clearTimeout(timer);
        });
      },
    ),
  );
  // Where there is not room for the whole day, the present is in sight.
  let agenda!: HTMLDivElement;
  createEffect(() => {
    const isToday = untrack(now) > drawn().first && untrack(now) < drawn().last;
    const share = isToday ? x(untrack(now)) / WIDTH : 0;
    queueMicrotask(() => (agenda.scrollLeft = share * agenda.scrollWidth - agenda.clientWidth / 2));
  });
  const kind = (one: Reservation) =>
    one.origin === Origin.CLOSURE || one.origin === Origin.MAINTENANCE ? "closed" : State[one.state].toLowerCase();
  const who = (one: Reservation) => one.user.replace("users/", "") || t().closed;

  return (
    <section aria-label={t().desk.today}>
      <div class="bar">
        <button
          type="button"
          class="small plain"
          disabled={offset() <= 0}
          aria-label={t().dayBefore}
          onClick={() => setOffset(offset() - 1)}
        >
          ← <span class="wide-only">{t().dayBefore}</span>
        </button>
        <h2>{dayOf(start(), props.place.zone)}</h2>
        <button
          type="button"
          class="small plain"
          aria-label={t().dayAfter}
          onClick={() => setOffset(offset() + 1)}
        >
          <span class="wide-only">{t().dayAfter}</span> →
        </button>
      </div>
      <div ref={agenda} class="agenda" tabindex="0" role="region" aria-label={t().desk.today}>
        <svg class="marks" viewBox={`0 0 ${WIDTH} ${TOP - 4}`} aria-hidden="true">
          <For each={hours()}>
            {(hour, index) => (
              <g>
                <rect
                  class="hour"
                  x={x(hour)}
                  y="20"
                  width={Math.max(1, x(hour + HOUR) - x(hour) - 1)}
                  height="16"
                  fill-opacity={fullness(hour).toFixed(2)}
                >
                  <title>
                    {clock(hour, props.place.zone)}: {Math.round(fullness(hour) * 100)} %
                  </title>
                </rect>
                <Show when={hours().length <= MARKS_MAX || index() % 2 === 0}>
                  <text class="mark" x={x(hour)} y="14">
                    {clock(hour, props.place.zone)}
                  </text>
                </Show>
              </g>
            )}
          </For>
        </svg>
        <svg viewBox={`0 ${TOP - 4} ${WIDTH} ${seats.length * ROW + 12}`} role="group" aria-label={t().desk.today}>
          <For each={hours()}>
            {(hour) => <path class="grid" d={`M${x(hour)} ${TOP}V${TOP + seats.length * ROW}`} />}
          </For>
          <For each={seats}>
            {(seat, row) => (
              <>
                <text class="name" x="4" y={TOP + row() * ROW + 18}>
                  {cut(seat.label, LEFT)}
                </text>
                <For each={stays(seat)}>
                  {(one) => (
                    <g
                      class={`stay ${kind(one)}`}
                      role="button"
                      tabindex="0"
                      aria-label={`${seat.label}, ${who(one)}, ${span(ms(one.startTime), ms(one.endTime), props.place.zone)}, ${t().stateNames[one.state]}`}
                      onClick={() => setChosen(one)}
                      onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && setChosen(one)}
                    >
                      <title>{who(one)}</title>
                      <rect x={from(one) + 1} y={TOP + row() * ROW + 3} width={room(one)} height={ROW - 6} rx="4" />
                      <text x={from(one) + 8} y={TOP + row() * ROW + 17}>
                        {cut(who(one), room(one))}
                      </text>
                    </g>
                  )}
                </For>
              </>
            )}
          </For>
          <Show when={now() > drawn().first && now() < drawn().last}>
            <path class="now" d={`M${x(now())} ${TOP - 4}V${TOP + seats.length * ROW}`} />
          </Show>
        </svg>
      </div>
      <Show when={chosen()} keyed>
        {(one) => <Stay reservation={one} place={props.place} onClose={() => setChosen(undefined)} />}
      </Show>
    </section>
  );
}

function Stay(props: { reservation: Reservation; place: Place; onClose: () => void }) {
  const { isBusy, problem, perform } = deed(() => props.place.zone);
  const { name, state } = props.reservation;
  /** Whoever loses a seat is told why. */
  const [isCancelling, setCancelling] = createSignal(false);
  const cancel = (event: SubmitEvent) => {
    event.preventDefault();
    const reason = String(new FormData(event.currentTarget as HTMLFormElement).get("reason")).trim();
    void act((requestId) => reservations.cancelReservation({ requestId, name, reason }), t().cancelled);
  };
  const act = async (attempt: (requestId: string) => Promise<unknown>, done: string) => {
    if (await perform(attempt, done)) props.onClose();
  };
  return (
    <Sheet
      title={props.reservation.user.replace("users/", "") || t().closed}
      subtitle={`${t().seat} ${seatLabel(props.reservation.seat)} · ${t().stateNames[state]}`}
      onClose={props.onClose}
    >
      <p class="time">
        <b>{span(ms(props.reservation.startTime), ms(props.reservation.endTime), props.place.zone)}</b>
        <span>{dayOf(ms(props.reservation.startTime), props.place.zone)}</span>
      </p>
      <Problem text={problem()} />
      <div class="actions">
        <Show when={props.reservation.user && state === State.CONFIRMED}>
          <button
            type="button"
            class="primary"
            disabled={isBusy()}
            onClick={() => void act((requestId) => reservations.checkIn({ requestId, name }), t().checkedIn)}
          >
            {t().checkIn}
          </button>
        </Show>
        <Show when={props.reservation.user && (state === State.CHECKED_IN || state === State.AWAY)}>
          <button
            type="button"
            class="plain"
            disabled={isBusy()}
            onClick={() => void act((requestId) => reservations.checkOut({ requestId, name }), t().checkedOut)}
          >
            {t().checkOut}
          </button>
        </Show>
        <Show when={props.reservation.user && (state === State.CONFIRMED || state === State.HELD)}>
          <button
            type="button"
            class="plain"
            aria-expanded={isCancelling()}
            onClick={() => setCancelling(!isCancelling())}
          >
            {t().cancel}
          </button>
        </Show>
      </div>
      <Show when={isCancelling()}>
        <form class="stack" onSubmit={cancel}>
          <div class="field">
            <label for="cancel-reason">{t().reason}</label>
            <input id="cancel-reason" name="reason" maxlength="200" required />
          </div>
          <button type="submit" class="danger" disabled={isBusy()}>
            {t().reallyCancel}
          </button>
        </form>
      </Show>
    </Sheet>
  );
}
