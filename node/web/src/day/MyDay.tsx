// My day: what is booked, how long there is for what comes next, and every way to go on from there.

import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import { type Reservation, Reservation_State as State } from "../gen/carrel/v1/reservation_pb";
import { type WaitlistEntry, WaitlistEntry_State } from "../gen/carrel/v1/waitlist_pb";
import { reservations, waitlist } from "../rpc/clients";
import { change } from "../rpc/link";
import { refusalOf } from "../rpc/refusal";
import { go } from "../route";
import { noteSessionOver, user } from "../session";
import { areaNamed, branchNamed, lastPart, seatLabel, zoneOf } from "../seats/places";
import { Problem } from "../shell/Problem";
import { say } from "../shell/announce";
import { Icon } from "../shell/Icon";
import { at, clock, countdown, dayOf, HOUR, length, MINUTE, ms, now, span } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";
import { calendarFile } from "./calendar";
import { Feed } from "./Feed";
import { isOffer, mine, noteReservation, refreshMine } from "./mine";

/** What an extension is asked for in. */
const STEP = 30 * MINUTE;
/** What is nearer than this is counted down, what is farther has a date. */
const SOON = 12 * HOUR;

export default function MyDay() {
  void refreshMine();
  const offers = createMemo(() => mine.upcoming.filter(isOffer));
  const others = createMemo(() => mine.upcoming.filter((one) => !isOffer(one)));
  const waiting = createMemo(() => mine.waits.filter((one) => one.state === WaitlistEntry_State.WAITING));
  const suspended = () => ms(user()?.suspendedUntil);
  return (
    <div class="column">
      <h1>{t().views.day}</h1>
      <Show when={suspended() > now()}>
        <p class="verdict">{t().suspendedUntil(dayOf(suspended(), zoneOf("")))}</p>
      </Show>
      <For each={offers()}>{(offer) => <Card reservation={offer} />}</For>
      <For each={others()}>{(one) => <Card reservation={one} />}</For>
      <Show when={mine.isKnown && !mine.upcoming.length}>
        <div class="empty">
          <p>{t().nothingBooked}</p>
          <button type="button" class="primary" onClick={() => go("/seats")}>
            {t().findASeat}
          </button>
        </div>
      </Show>
      <Show when={waiting().length}>
        <h2>{t().waitingFor}</h2>
        <For each={waiting()}>{(entry) => <Wait entry={entry} />}</For>
      </Show>
      <Feed />
    </div>
  );
}

function Card(props: { reservation: Reservation }) {
  const zone = () => zoneOf(props.reservation.seat);
  const start = () => ms(props.reservation.startTime);
  const end = () => ms(props.reservation.endTime);
  const deadline = () => ms(props.reservation.deadline);
  const state = () => props.reservation.state;
  const name = () => props.reservation.name;
  const [busy, setBusy] = createSignal(false);
  const [problem, setProblem] = createSignal("");
  const [wantsCode, setWantsCode] = createSignal(false);
  const [isSure, setSure] = createSignal(false);

  const act = async (
    attempt: (requestId: string) => Promise<{ reservation?: Reservation }>,
    done: string,
  ): Promise<void> => {
    setBusy(true);
    setProblem("");
    try {
      const { reservation } = await change(attempt);
      setWantsCode(false);
      noteReservation(reservation);
      say(done, "shown");
    } catch (error) {
      if (noteSessionOver(error)) return;
      const refusal = refusalOf(error);
      if (refusal.reason === "PRESENCE_NOT_PROVEN") setWantsCode(true);
      setProblem(inWords(refusal, zone()));
    } finally {
      setBusy(false);
    }
  };
  const checkIn = (presenceCode = "") =>
    act((requestId) => reservations.checkIn({ requestId, name: name(), presenceCode }), t().checkedIn);
  const cancel = () => act((requestId) => reservations.cancelReservation({ requestId, name: name() }), t().cancelled);

  /** What comes next by itself, and when. */
  const next = createMemo((): { label: string; moment: number; isUrgent: boolean } => {
    if (isOffer(props.reservation)) return { label: t().offerEnds, moment: deadline(), isUrgent: true };
    switch (state()) {
      case State.HELD:
        return { label: t().holdEnds, moment: deadline(), isUrgent: true };
      case State.AWAY:
        return { label: t().backBy, moment: deadline(), isUrgent: true };
      case State.CHECKED_IN:
        return { label: t().ends, moment: end(), isUrgent: false };
      default:
        return start() > now()
          ? { label: t().starts, moment: start(), isUrgent: false }
          : { label: t().checkInBy, moment: deadline(), isUrgent: true };
    }
  });
  const left = () => next().moment - now();

  return (
    <article
      class="card"
      classList={{ urgent: next().isUrgent, here: state() === State.CHECKED_IN }}
      data-reservation={name()}
      data-state={State[state()]}
    >
      <header>
        <div>
          <p class="state-name">{isOffer(props.reservation) ? t().offered : t().stateNames[state()]}</p>
          <h2>
            {t().seat} {seatLabel(props.reservation.seat)}
          </h2>
          <p class="quiet">{branchNamed(props.reservation.seat)?.displayName}</p>
        </div>
        <p class="moment">
          <small>{next().label}</small>
          <b>{left() < SOON ? countdown(left()) : clock(next().moment, zone())}</b>
        </p>
      </header>
      <p class="time">
        <b>{span(start(), end(), zone())}</b>
        <span>
          {dayOf(start(), zone())} · {length(end() - start())}
        </span>
      </p>
      <Show when={start() < now() && end() > now()}>
        <progress
          max={end() - start()}
          value={now() - start()}
          aria-label={t().ends}
        />
      </Show>
      <Problem text={problem()} />
      <Show when={wantsCode()}>
        <form
          class="inline"
          onSubmit={(event) => {
            event.preventDefault();
            void checkIn(String(new FormData(event.currentTarget).get("code")).trim());
          }}
        >
          <label class="sr" for={`code-${lastPart(name())}`}>
            {t().code}
          </label>
          <input
            id={`code-${lastPart(name())}`}
            name="code"
            placeholder="K7M-2QP"
            autocomplete="off"
            autocapitalize="characters"
            required
          />
          <button type="submit" class="primary">
            {t().checkIn}
          </button>
        </form>
      </Show>
      <div class="actions">
        <Switch>
          <Match when={isOffer(props.reservation)}>
            <button
              type="button"
              class="primary"
              disabled={busy()}
              onClick={() =>
                act((requestId) => waitlist.acceptOffer({ requestId, reservation: name() }), t().booked)
              }
            >
              {t().accept}
            </button>
            <button
              type="button"
              class="plain"
              disabled={busy()}
              onClick={() =>
                act((requestId) => waitlist.declineOffer({ requestId, reservation: name() }), t().declined)
              }
            >
              {t().decline}
            </button>
          </Match>
          <Match when={state() === State.HELD}>
            <button
              type="button"
              class="primary"
              disabled={busy()}
              onClick={() =>
                act((requestId) => reservations.confirmReservation({ requestId, name: name() }), t().booked)
              }
            >
              {t().book}
            </button>
          </Match>
          <Match when={state() === State.CONFIRMED && !wantsCode()}>
            <button
              type="button"
              class={start() - now() < HOUR ? "primary" : "plain"}
              disabled={busy()}
              onClick={() => void checkIn()}
            >
              {t().checkIn}
            </button>
          </Match>
          <Match when={state() === State.AWAY && !wantsCode()}>
            <button type="button" class="primary" disabled={busy()} onClick={() => void checkIn()}>
              {t().iAmBack}
            </button>
          </Match>
          <Match when={state() === State.CHECKED_IN}>
            <button
              type="button"
              class="plain"
              disabled={busy()}
              onClick={() => act((requestId) => reservations.stepAway({ requestId, name: name() }), t().keptForYou)}
            >
              {t().stepAway}
            </button>
          </Match>
        </Switch>
        <Show when={state() === State.CHECKED_IN || state() === State.CONFIRMED}>
          <button
            type="button"
            class="plain"
            disabled={busy()}
            onClick={() =>
              act(
                (requestId) =>
                  reservations.extendReservation({ requestId, name: name(), endTime: at(end() + STEP) }),
                t().extended,
              )
            }
          >
            {t().extend(length(STEP))}
          </button>
        </Show>
        <Show when={state() === State.CHECKED_IN || state() === State.AWAY}>
          <button
            type="button"
            class="plain"
            disabled={busy()}
            onClick={() => act((requestId) => reservations.checkOut({ requestId, name: name() }), t().checkedOut)}
          >
            {t().checkOut}
          </button>
        </Show>
        <Show when={state() === State.CONFIRMED}>
          <button type="button" class="plain" onClick={() => calendarFile(props.reservation)}>
            <Icon name="day" /> {t().toCalendar}
          </button>
        </Show>
        <Show when={(state() === State.CONFIRMED || state() === State.HELD) && !isOffer(props.reservation)}>
          <button
            type="button"
            class={isSure() ? "danger" : "plain"}
            disabled={busy()}
            onClick={() => (isSure() ? void cancel() : setSure(true))}
            onBlur={() => setSure(false)}
          >
            {isSure() ? t().reallyCancel : t().cancel}
          </button>
        </Show>
      </div>
    </article>
  );
}

function Wait(props: { entry: WaitlistEntry }) {
  const zone = () => zoneOf(props.entry.target.value ?? "");
  const place = () => {
    const { case: kind, value } = props.entry.target;
    if (kind === "seat") return `${t().seat} ${seatLabel(value)}`;
    return (kind === "area" ? areaNamed(value)?.displayName : branchNamed(value ?? "")?.displayName) ?? "";
  };
  const leave = async () => {
    try {
      await change((requestId) => waitlist.leaveWaitlist({ requestId, name: props.entry.name }));
      say(t().left, "shown");
    } catch (error) {
      noteSessionOver(error);
    }
    void refreshMine();
  };
  return (
    <article class="card small-card">
      <header>
        <div>
          <h3>{place()}</h3>
          <p class="quiet">
            {dayOf(ms(props.entry.interval?.startTime), zone())},{" "}
            {span(ms(props.entry.interval?.startTime), ms(props.entry.interval?.endTime), zone())}
          </p>
        </div>
        <Show when={props.entry.worstPlace}>
          <p class="moment">
            <small>{t().placeInLine}</small>
            <b>
              {props.entry.bestPlace === props.entry.worstPlace
                ? props.entry.bestPlace
                : `${props.entry.bestPlace}–${props.entry.worstPlace}`}
            </b>
          </p>
        </Show>
      </header>
      <div class="actions">
        <button type="button" class="plain" onClick={() => void leave()}>
          {t().leaveLine}
        </button>
      </div>
    </article>
  );
}
