// Two taps to a seat: the first holds it while one decides, the second makes it a reservation. What is shown here as
// booked is on the disks of a majority; until then it says that it is being booked.

import { createMemo, createSignal, For, Match, onCleanup, Show, Switch } from "solid-js";
import { claimOn, mine, noteReservation, refreshMine } from "../day/mine";
import { type Reservation, Reservation_State } from "../gen/carrel/v1/reservation_pb";
import type { Alternative } from "../gen/carrel/v1/seat_pb";
import { reservations, waitlist } from "../rpc/clients";
import { change, isReconnecting } from "../rpc/link";
import { type Refusal, refusalOf } from "../rpc/refusal";
import { go } from "../route";
import { noteSessionOver, withUser } from "../session";
import { say } from "../shell/announce";
import { Icon } from "../shell/Icon";
import { Sheet } from "../shell/Sheet";
import { countdown, dayOf, interval, length, MINUTE, ms, now, span } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";
import type { ShownSeat, When } from "./live";
import { areaNamed, seatLabel } from "./places";

type Phase =
  | { at: "asking" }
  | { at: "held"; claim: Reservation; lengthMax: number }
  | { at: "booking"; label: string }
  | { at: "booked"; claim: Reservation; label: string }
  | { at: "refused"; refusal: Refusal }
  | { at: "waiting" }
  | { at: "yours"; claim: Reservation };

/** What this device's clock may be off by without being corrected, and a little. */
const CLOCKS_DIFFER_MS = 4_000;
/** Seats are held for whole minutes: the little that is more than these is what two clocks differ by. */
const wholeMinutes = (length: number) => Math.ceil((length - CLOCKS_DIFFER_MS) / MINUTE) * MINUTE;

export function Booking(props: {
  seat: ShownSeat;
  place: string;
  zone: string;
  when: When;
  onClose: () => void;
}) {
  // As they were when the seat was tapped: the map goes on, this question does not.
  const { name: seat, label } = props.seat;
  const when = { ...props.when };
  const [phase, setPhase] = createSignal<Phase>({ at: "asking" });
  let closed = false;

  const refuse = (error: unknown) => {
    if (noteSessionOver(error)) return withUser(() => void hold());
    const refusal = refusalOf(error);
    setPhase({ at: "refused", refusal });
    say(inWords(refusal, props.zone));
  };

  const hold = async (isSecond = false): Promise<void> => {
    setPhase({ at: "asking" });
    try {
      const wish = { target: { case: "seat" as const, value: seat }, interval: interval(when.start, when.end) };
      const { reservation } = await change((requestId) => reservations.holdSeat({ requestId, wish }));
      if (!reservation) return;
      if (closed) return giveBack(reservation);
      noteReservation(reservation);
      setPhase({ at: "held", claim: reservation, lengthMax: wholeMinutes(ms(reservation.deadline) - now()) });
      say(t().heldForYou(label));
    } catch (error) {
      const { reason, metadata } = refusalOf(error);
      const other = metadata.reservation;
      // One hold at a time: whoever looks at another seat has let go of the last one.
      if (reason === "QUOTA_EXCEEDED" && metadata.rule === "holds" && other && !isSecond) {
        await change((requestId) => reservations.cancelReservation({ requestId, name: other })).catch(() => undefined);
        return hold(true);
      }
      refuse(error);
    }
  };
  const giveBack = (claim: Reservation) => {
    void change((requestId) => reservations.cancelReservation({ requestId, name: claim.name }))
      .catch(() => undefined)
      .then(refreshMine);
  };
  const confirm = async (claim: Reservation) => {
    setPhase({ at: "booking", label });
    try {
      const { reservation } = await change((requestId) =>
        reservations.confirmReservation({ requestId, name: claim.name }),
      );
      booked(reservation, label);
    } catch (error) {
      refuse(error);
    }
  };
  const take = async (other: Alternative) => {
    const label = other.seat?.label ?? "";
    setPhase({ at: "booking", label });
    try {
      const { reservation } = await change((requestId) =>
        reservations.createReservation({ requestId, seat: other.seat!.name, interval: other.interval }),
      );
      booked(reservation, label);
    } catch (error) {
      refuse(error);
    }
  };
  const booked = (claim: Reservation | undefined, label: string) => {
    if (!claim) return;
    noteReservation(claim);
    setPhase({ at: "booked", claim, label });
    say(t().booked);
  };
  const joinLine = async () => {
    try {
      await change((requestId) =>
        waitlist.joinWaitlist({
          requestId,
          target: { case: "seat", value: seat },
          interval: interval(when.start, when.end),
        }),
      );
      void refreshMine();
      setPhase({ at: "waiting" });
      say(t().inLine);
    } catch (error) {
      refuse(error);
    }
  };

  const already = claimOn(seat, when);
  const known = mine.upcoming.find((one) => one.seat === seat && already);
  if (known && already === "mine") setPhase({ at: "yours", claim: known });
  else if (known && already === "held") setPhase({ at: "held", claim: known, lengthMax: Infinity });
  else withUser(() => void hold());

  onCleanup(() => {
    closed = true;
    const last = phase();
    if (last.at === "held" && last.claim.state === Reservation_State.HELD && ms(last.claim.deadline) > now()) {
      giveBack(last.claim);
    }
  });

  const left = createMemo(() => {
    const here = phase();
    return here.at === "held" ? Math.min(here.lengthMax, ms(here.claim.deadline) - now()) : 0;
  });
  const as = <K extends Phase["at"]>(kind: K) => {
    const here = phase();
    return here.at === kind ? (here as Extract<Phase, { at: K }>) : undefined;
  };
  const time = (claim: Reservation) => (
    <>
      {dayOf(ms(claim.startTime), props.zone)}, {span(ms(claim.startTime), ms(claim.endTime), props.zone)}
    </>
  );

  return (
    <Sheet title={`${t().seat} ${label}`} subtitle={props.place} onClose={props.onClose}>
      <div class="facts">
        <p class="time">
          <b>{span(when.start, when.end, props.zone)}</b>
          <span>
            {dayOf(when.start, props.zone)} · {length(when.end - when.start)}
          </span>
        </p>
        <Show when={props.seat.amenities.length || props.seat.accessible}>
          <p class="extras">
            {props.seat.amenities.map((one) => t().amenities[one] ?? one).join(" · ")}
            <Show when={props.seat.accessible}>
              {" "}
              <Icon name="accessible" /> {t().accessible}
            </Show>
          </p>
        </Show>
      </div>
      <div class="phase" data-phase={phase().at}>
        <Switch>
          <Match when={as("asking")}>
            <p class="progress">
              <span class="spinner" aria-hidden="true" /> {isReconnecting() ? t().reconnecting : t().holding}
            </p>
          </Match>
          <Match when={as("held")}>
            {(here) => (
              <Show
                when={left() > 0}
                fallback={
                  <>
                    <p class="verdict">{t().holdOver}</p>
                    <button type="button" class="primary" onClick={() => void hold()}>
                      {t().holdAgain}
                    </button>
                  </>
                }
              >
                <p class="held">
                  <span class="ring" aria-hidden="true">
                    {countdown(left())}
                  </span>
                  <span>{t().heldForYou(label)}</span>
                </p>
                <button type="button" class="primary" onClick={() => void confirm(here().claim)}>
                  {t().book}
                </button>
                <button type="button" class="plain" onClick={() => props.onClose()}>
                  {t().notThisOne}
                </button>
              </Show>
            )}
          </Match>
          <Match when={as("booking")}>
            <p class="progress">
              <span class="spinner" aria-hidden="true" /> {isReconnecting() ? t().reconnectingBooking : t().booking}
            </p>
          </Match>
          <Match when={as("booked")}>
            {(here) => (
              <>
                <p class="success">
                  <span class="badge" aria-hidden="true">
                    <Icon name="check" />
                  </span>
                  <span>
                    <b>{t().bookedSeat(here().label)}</b>
                    <br />
                    <span class="quiet">{time(here().claim)}</span>
                  </span>
                </p>
                <p class="quiet">{t().checkInFrom}</p>
                <button type="button" class="primary" onClick={() => go("/day")}>
                  {t().toMyDay}
                </button>
                <button type="button" class="plain" onClick={() => props.onClose()}>
                  {t().done}
                </button>
              </>
            )}
          </Match>
          <Match when={as("waiting")}>
            <p class="success">
              <span class="badge" aria-hidden="true">
                <Icon name="check" />
              </span>
              <span>
                <b>{t().inLine}</b>
                <br />
                <span class="quiet">{t().inLineMeans}</span>
              </span>
            </p>
            <button type="button" class="primary" onClick={() => go("/day")}>
              {t().toMyDay}
            </button>
          </Match>
          <Match when={as("yours")}>
            {(here) => (
              <>
                <p class="verdict">
                  {t().yours} {time(here().claim)}
                </p>
                <button type="button" class="primary" onClick={() => go("/day")}>
                  {t().toMyDay}
                </button>
              </>
            )}
          </Match>
          <Match when={as("refused")}>
            {(here) => (
              <>
                <p class="verdict" role="alert" data-reason={here().refusal.reason}>
                  {inWords(here().refusal, props.zone)}
                </p>
                <Show when={here().refusal.rules.length > 1}>
                  <ul class="rules">
                    <For each={here().refusal.rules.slice(1)}>
                      {(rule) => <li>{inWords(rule, props.zone)}</li>}
                    </For>
                  </ul>
                </Show>
                <Show when={here().refusal.alternatives.length}>
                  <h3>{t().instead}</h3>
                  <ul class="alternatives">
                    <For each={here().refusal.alternatives}>
                      {(other) => (
                        <li>
                          <button type="button" class="line free" onClick={() => void take(other)}>
                            <b>{other.seat?.label || seatLabel(other.seat?.name ?? "")}</b>
                            <span class="state">
                              {span(ms(other.interval?.startTime), ms(other.interval?.endTime), props.zone)}
                            </span>
                            <span class="extras">{areaNamed(other.seat?.area ?? "")?.displayName}</span>
                            <span class="do">{t().bookThis}</span>
                          </button>
                        </li>
                      )}
                    </For>
                  </ul>
                </Show>
                <Show when={here().refusal.reason === "SEAT_TAKEN"}>
                  <button type="button" class="plain" onClick={() => void joinLine()}>
                    {t().waitForIt}
                  </button>
                </Show>
              </>
            )}
          </Match>
        </Switch>
      </div>
    </Sheet>
  );
}

