// Somebody stands at the desk and sits down now.

import { For } from "solid-js";
import { reservations } from "../rpc/clients";
import { at, HOUR, length, MINUTE, now } from "../time";
import { t } from "../words";
import { deed } from "../rpc/deed";
import type { Place } from "./Staff";

const GRID = 30 * MINUTE;
const STAYS = [1, 2, 3, 4].map((hours) => hours * HOUR);

export function WalkIn(props: { place: Place }) {
  const { isBusy, problem, perform } = deed(() => props.place.zone);
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
          seat: `${props.place.branch}/seats/${field("seat")}`,
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
      <div class="field">
        <label for="walkin-seat">{t().seat}</label>
        <input
          id="walkin-seat"
          name="seat"
          placeholder="a-001"
          autocapitalize="none"
          autocomplete="off"
          required
        />
      </div>
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
