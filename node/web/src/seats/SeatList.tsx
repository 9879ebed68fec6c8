// The same seats as a list, row by row, for whoever would rather read than look.

import { createMemo, createSignal, For, Show } from "solid-js";
import { Icon } from "../shell/Icon";
import { clock } from "../time";
import { t } from "../words";
import type { ShownSeat, When } from "./live";

/** "Row 2, seat A14, free until 16:00, lamp, window" */
export function seatInWords(seat: ShownSeat, zone: string): string {
  const isFreeUntil = seat.state === "free" && seat.freeUntil;
  const state = isFreeUntil ? t().freeUntil(clock(seat.freeUntil, zone)) : t().states[seat.state];
  const extras = seat.amenities.map((one) => t().amenities[one] ?? one);
  if (seat.accessible) extras.push(t().accessible);
  return [t().rowAndSeat(seat.row, seat.label), state, ...extras].join(", ");
}

export function SeatList(props: {
  seats: ShownSeat[];
  fits: (seat: ShownSeat) => boolean;
  zone: string;
  when: When | undefined;
  onPick: (seat: ShownSeat) => void;
}) {
  const [all, setAll] = createSignal(false);
  const listed = () => props.seats.filter((seat) => props.fits(seat) && (all() || seat.state !== "taken"));
  const rows = createMemo(() => [...new Set(listed().map((seat) => seat.row))].sort((a, b) => a - b));
  return (
    <div class="list">
      <label class="switch">
        <input type="checkbox" checked={all()} onChange={(e) => setAll(e.target.checked)} /> {t().takenToo}
      </label>
      <Show when={rows().length} fallback={<p class="empty">{t().nothingFits}</p>}>
        <For each={rows()}>
          {(row) => (
            <section>
              <h2>{t().row(row)}</h2>
              <ul class="rows">
                <For each={listed().filter((seat) => seat.row === row)}>
                  {(seat) => (
                    <li>
                      <button
                        type="button"
                        class={`line ${seat.state}`}
                        data-seat={seat.name}
                        data-state={seat.state}
                        onClick={() => props.onPick(seat)}
                      >
                        <b>
                          <span class="sr">
                            {t().row(seat.row)}, {t().seat}{" "}
                          </span>
                          {seat.label}
                        </b>
                        <span class="state">
                          <span class="sr">, </span>
                          {seat.state === "free" && seat.freeUntil
                            ? t().freeUntil(clock(seat.freeUntil, props.zone))
                            : t().states[seat.state]}
                        </span>
                        <span class="extras">
                          <span class="sr">, </span>
                          {seat.amenities.map((one) => t().amenities[one] ?? one).join(", ")}
                          <Show when={seat.accessible}>
                            {" "}
                            <Icon name="accessible" />
                            <span class="sr">, {t().accessible}</span>
                          </Show>
                        </span>
                      </button>
                    </li>
                  )}
                </For>
              </ul>
            </section>
          )}
        </For>
      </Show>
    </div>
  );
}
