// A seat, typed as it stands on the desk or by its id; all of the area are offered while one types.

import { createEffect, createSignal, For, onCleanup } from "solid-js";
import type { Seat } from "../gen/carrel/v1/seat_pb";
import { seats as service } from "../rpc/clients";
import { ask } from "../rpc/link";
import { lastPart } from "../seats/places";
import { noteSessionOver } from "../session";
import type { Place } from "./Staff";

/** The most that a node gives at once; the largest areas have a fifth of that. */
const PAGE = 1_000;

/** The seats of a place, and what somebody means who has typed one. */
export function seatsOf(place: () => Place) {
  const [seats, setSeats] = createSignal<Seat[]>([]);
  createEffect(() => {
    const { branch, area } = place();
    let isWanted = true;
    onCleanup(() => (isWanted = false));
    setSeats([]);
    ask(() => service.searchSeats({ branch, area, pageSize: PAGE })).then(
      (found) => isWanted && setSeats(found.seats),
      noteSessionOver,
    );
  });
  /** The name of the seat; of one that is not known here what was typed, as a name, to which the node then says no. */
  const named = (typed: string) => {
    const wanted = typed.trim().toLowerCase();
    const found =
      seats().find((seat) => lastPart(seat.name) === wanted) ?? seats().find((seat) => seat.label.toLowerCase() === wanted);
    return found?.name ?? `${place().branch}/seats/${wanted.replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")}`;
  };
  return { seats, named };
}

export function SeatField(props: { id: string; label: string; seats: Seat[]; required?: boolean }) {
  return (
    <div class="field">
      <label for={props.id}>{props.label}</label>
      <input
        id={props.id}
        name="seat"
        list={`${props.id}-known`}
        placeholder={props.seats[0]?.label}
        autocapitalize="none"
        autocomplete="off"
        required={props.required}
      />
      <datalist id={`${props.id}-known`}>
        <For each={props.seats}>{(seat) => <option value={seat.label}>{lastPart(seat.name)}</option>}</For>
      </datalist>
    </div>
  );
}
