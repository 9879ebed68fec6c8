// Somebody stands at the desk and sits down now.

import { For } from "solid-js";
import { reservations } from "../rpc/clients";
import { at, HOUR, length, MINUTE, now } from "../time";
import { t } from "../words";
import { deed } from "../rpc/deed";
import { SeatField, seatsOf } from "./SeatField";
import type { Place } from "./Staff";

const GRID = 30 * MINUTE;
const STAYS = [1, 2, 3, 4].map((hours) => hours * HOUR);

export function WalkIn(props: { place: Place }) {
  const { isBusy, problem, perform } = deed(() => props.place.zone);
  const { seats, named } = seatsOf(() => props.place);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const data = new FormData(form);
    const field = (name: string) => String(data.get(name)).trim().toLowerCase();
    const until = Math.floor(now() / GRID) * GRID + Number(field("stay"));
    const done = await perform(
      (requestId) =>
        reservations.walkIn({
          requestId,
          seat: named(field("seat")),
          onBehalfOf: `users/${field("user")}`,
          endTime: at(until),
        }),
      t().seated,
    );
    if (done) form.reset();
  };
  return (
    <form class="stack panel" onSubmit={submit}>
      <h2>{t().desk.walkin}</h2>
      <div class="field">
        <label for="walkin-user">{t().person}</label>
        <input id="walkin-user" name="user" autocapitalize="none" autocomplete="off" required />
      </div>
      <SeatField id="walkin-seat" label={t().seat} seats={seats()} required />
      <div class="field">
        <label for="walkin-stay">{t().howLong}</label>
        <select id="walkin-stay" name="stay">
          <For each={STAYS}>{(stay) => <option value={stay}>{length(stay)}</option>}</For>
        </select>
      </div>
      <p class="problem" role="alert">
        {problem()}
      </p>
      <button type="submit" class="primary" disabled={isBusy()}>
        {t().seatThem}
      </button>
    </form>
  );
}
