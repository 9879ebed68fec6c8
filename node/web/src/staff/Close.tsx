// Closing seats: first what it would do to whoever has booked there, then, on a second tap, done.

import { createSignal, Show, untrack } from "solid-js";
import { Closing, type CloseSeatsResponse } from "../gen/carrel/v1/seat_pb";
import { seats } from "../rpc/clients";
import { Problem } from "../shell/Problem";
import { dateOf, interval, midnight, MINUTE, now } from "../time";
import { t } from "../words";
import { deed } from "../rpc/deed";
import { SeatField, seatsOf } from "./SeatField";
import type { Place } from "./Staff";

export function Close(props: { place: Place }) {
  const { isBusy, problem, perform } = deed(() => props.place.zone);
  // As it is now: the clock goes on, and must not take back the day that somebody has chosen.
  const today = untrack(() => dateOf(now(), props.place.zone));
  const { seats: known, named } = seatsOf(() => props.place);
  const [preview, setPreview] = createSignal<CloseSeatsResponse>();
  const request = (form: HTMLFormElement) => {
    const data = new FormData(form);
    const field = (name: string) => String(data.get(name)).trim();
    const moment = (name: string) => {
      const [hours, minutes] = field(name).split(":").map(Number);
      return midnight(field("date"), props.place.zone) + (hours! * 60 + minutes!) * MINUTE;
    };
    const seat = field("seat");
    const target = seat
      ? { case: "seat" as const, value: named(seat) }
      : { case: "area" as const, value: props.place.area };
    const closing = field("why") === "maintenance" ? Closing.MAINTENANCE : Closing.CLOSURE;
    return { target, interval: interval(moment("from"), moment("to")), closing, reason: field("reason") };
  };
  let form!: HTMLFormElement;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = request(form);
    if (!preview()) {
      setPreview(await perform((requestId) => seats.closeSeats({ ...wanted, requestId, validateOnly: true })));
    } else if (await perform((requestId) => seats.closeSeats({ ...wanted, requestId }), t().closedNow)) {
      setPreview(undefined);
      form.reset();
    }
  };
  const reopen = () => {
    if (!form.reportValidity()) return;
    const { closing: _, ...wanted } = request(form);
    void perform((requestId) => seats.reopenSeats({ ...wanted, requestId }), t().reopened);
  };
  return (
    <form ref={form} class="stack panel" onSubmit={submit} onInput={() => setPreview(undefined)}>
      <h2>{t().desk.closures}</h2>
      <SeatField id="close-seat" label={t().seatOrAll} seats={known()} />
      <div class="pair">
        <div class="field">
          <label for="close-date">{t().day}</label>
          <input id="close-date" name="date" type="date" value={today} required />
        </div>
        <div class="field">
          <label for="close-from">{t().from}</label>
          <input id="close-from" name="from" type="time" step="1800" value="21:00" required />
        </div>
        <div class="field">
          <label for="close-to">{t().until}</label>
          <input id="close-to" name="to" type="time" step="1800" value="22:00" required />
        </div>
      </div>
      <div class="field">
        <label for="close-why">{t().why}</label>
        <select id="close-why" name="why">
          <option value="closure">{t().closure}</option>
          <option value="maintenance">{t().maintenance}</option>
        </select>
      </div>
      <div class="field">
        <label for="close-reason">{t().reason}</label>
        <input id="close-reason" name="reason" maxlength="200" required />
      </div>
      <Problem text={problem()} />
      <Show when={preview()}>
        {(here) => (
          <p class="verdict" role="status">
            {t().closingMeans(here().seatCount, here().movedCount, here().displacedCount)}
          </p>
        )}
      </Show>
      <div class="actions">
        <button type="submit" class={preview() ? "danger" : "primary"} disabled={isBusy()}>
          {preview() ? t().closeThem : t().whatWouldHappen}
        </button>
        <button type="button" class="plain" disabled={isBusy()} onClick={reopen}>
          {t().reopen}
        </button>
      </div>
    </form>
  );
}
