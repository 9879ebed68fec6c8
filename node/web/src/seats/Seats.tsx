// Find a seat: where, when and with what; a map and a list of the same seats; and a tap to have one.

import { createEffect, createMemo, createSignal, For, on, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { seats as service } from "../rpc/clients";
import { ask } from "../rpc/link";
import { go, route } from "../route";
import { user, withUser } from "../session";
import { say } from "../shell/announce";
import { Icon } from "../shell/Icon";
import { HOUR, MINUTE, ms, now, span } from "../time";
import { t } from "../words";
import { AreaTile } from "./AreaTile";
import { Booking } from "./Booking";
import { FloorMap } from "./FloorMap";
import { liveSeats, type ShownSeat, type When } from "./live";
import { branches, lastPart } from "./places";
import { SeatList } from "./SeatList";
import { daysOf, TimePicker } from "./TimePicker";

const SLOT = 30 * MINUTE;
const STAY = 2 * HOUR;
/** Less than this before closing nobody sits down any more. */
const SOON = 5 * MINUTE;

export default function Seats() {
  const branch = createMemo(() => {
    const wanted = route()[1] ?? localStorage.getItem("branch");
    return branches()?.find((one) => lastPart(one.name) === wanted) ?? branches()?.[0];
  });
  const area = createMemo(() => {
    const all = branch()?.areas ?? [];
    return all.find((one) => lastPart(one.name) === route()[2]) ?? all.find((one) => one.open) ?? all[0];
  });
  const zone = () => branch()?.timeZone ?? "UTC";
  const [open, setOpen] = createSignal<When[]>();
  const [when, setWhen] = createSignal<When>();
  const [filter, setFilter] = createStore<{ amenities: string[]; accessible: boolean; freeOnly: boolean }>({
    amenities: [],
    accessible: false,
    freeOnly: false,
  });
  const [view, setView] = createSignal<"map" | "list">(localStorage.getItem("view") === "list" ? "list" : "map");
  const [chosen, setChosen] = createSignal<ShownSeat>();

  const areaName = createMemo(() => area()?.name);
  const place = createMemo(() => {
    const here = user() && areaName();
    return here ? { branch: branch()!.name, area: here } : undefined;
  });
  const live = liveSeats(place, when);

  // The hours of an area are told with any of its seats.
  let hoursOf = "";
  createEffect(
    on([areaName, () => live.seats[0]?.name], async ([here, seat]) => {
      if (!here || !seat || hoursOf === here) return;
      hoursOf = here;
      const found = await ask(() => service.getSeat({ name: seat })).catch(() => undefined);
      if (!found || areaName() !== here) return;
      const spans = found.open.map((one) => ({ start: ms(one.startTime), end: ms(one.endTime) }));
      setOpen(spans);
      if (!stillFits(when(), spans)) setWhen(soon(spans));
    }),
  );

  const choose = (branchId: string, areaId?: string) => {
    localStorage.setItem("branch", branchId);
    setOpen(undefined);
    hoursOf = "";
    go(`/seats/${branchId}${areaId ? `/${areaId}` : ""}`, "replace");
  };
  const fits = (seat: ShownSeat) =>
    filter.amenities.every((wish) => seat.amenities.includes(wish)) && (!filter.accessible || seat.accessible);
  const amenities = createMemo(() => [...new Set(live.seats.flatMap((seat) => seat.amenities))].sort());
  const free = createMemo(() => live.seats.filter((seat) => seat.state === "free" && fits(seat)).length);
  const isClosed = () => open() !== undefined && !when();

  createEffect(
    on([free, when], ([count, time]) => {
      if (time && live.isKnown()) say(t().freeSeats(count), "quietly");
    }),
  );

  return (
    <div class="finder">
      <section class="asking" aria-label={t().whereAndWhen}>
        <h1>{t().findASeat}</h1>
        <div class="field">
          <label for="branch">{t().branch}</label>
          <select id="branch" value={branch() ? lastPart(branch()!.name) : ""} onChange={(e) => choose(e.target.value)}>
            <For each={branches()}>
              {(one) => (
                <option value={lastPart(one.name)} selected={one.name === branch()?.name}>
                  {one.displayName}
                </option>
              )}
            </For>
          </select>
        </div>
        <div class="field">
          <label for="area">{t().area}</label>
          <select
            id="area"
            value={area() ? lastPart(area()!.name) : ""}
            onChange={(e) => choose(lastPart(branch()!.name), e.target.value)}
          >
            <For each={branch()?.areas}>
              {(one) => (
                <option value={lastPart(one.name)} selected={one.name === areaName()}>
                  {one.displayName} · {one.open ? t().freeNow(one.availableCount) : t().closed}
                </option>
              )}
            </For>
          </select>
        </div>
        <Show when={open()} fallback={user() && <div class="waiting tall" aria-hidden="true" />}>
          {(spans) => (
            <TimePicker zone={zone()} open={spans()} when={when()} slot={SLOT} stay={STAY} onPick={setWhen} />
          )}
        </Show>
        <Show when={amenities().length || live.seats.some((seat) => seat.accessible)}>
          <fieldset class="chips">
            <legend>{t().with}</legend>
            <For each={amenities()}>
              {(amenity) => (
                <label class="chip">
                  <input
                    type="checkbox"
                    checked={filter.amenities.includes(amenity)}
                    onChange={(e) =>
                      setFilter("amenities", (all) =>
                        e.target.checked ? [...all, amenity] : all.filter((one) => one !== amenity),
                      )
                    }
                  />
                  <span>{t().amenities[amenity] ?? amenity}</span>
                </label>
              )}
            </For>
            <label class="chip">
              <input
                type="checkbox"
                checked={filter.accessible}
                onChange={(e) => setFilter("accessible", e.target.checked)}
              />
              <span>{t().accessible}</span>
            </label>
          </fieldset>
        </Show>
      </section>

      <Show when={user() !== null} fallback={<Welcome />}>
      <section class="answer" aria-label={t().seats}>
        <header class="bar">
          <p class="count">
            <Show when={!isClosed()} fallback={t().closedForDays}>
              <strong class="figure">{live.isKnown() ? free() : "…"}</strong> {t().free}
              <Show when={when()}>
                {(time) => (
                  <span class="quiet">
                    {" "}
                    · {span(time().start, time().end, zone())}
                  </span>
                )}
              </Show>
            </Show>
          </p>
          <div class="segments" role="group" aria-label={t().view}>
            <For each={["map", "list"] as const}>
              {(one) => (
                <button
                  type="button"
                  aria-pressed={view() === one}
                  onClick={() => {
                    setView(one);
                    localStorage.setItem("view", one);
                  }}
                >
                  <Icon name={one} /> {t()[one]}
                </button>
              )}
            </For>
          </div>
        </header>
        <Show when={live.seats.length} fallback={<div class="waiting map" aria-hidden="true" />}>
          <Show
            when={view() === "map"}
            fallback={<SeatList seats={live.seats} fits={fits} zone={zone()} when={when()} onPick={setChosen} />}
          >
            <FloorMap
              title={area()?.displayName ?? ""}
              seats={live.seats}
              fits={fits}
              zone={zone()}
              when={when()}
              onPick={setChosen}
            />
          </Show>
        </Show>
      </section>
      </Show>

      <Show when={chosen()} keyed>
        {(seat) => (
          <Booking
            seat={seat}
            place={area()?.displayName ?? ""}
            zone={zone()}
            when={when() ?? { start: now(), end: now() + STAY }}
            onClose={() => setChosen(undefined)}
          />
        )}
      </Show>
    </div>
  );

  /** For who has not logged in: how many seats are free is for all to know, which ones for those who may have them. */
  function Welcome() {
    return (
      <section class="answer" aria-label={t().areas}>
        <header class="bar">
          <p class="count">{t().logInToChoose}</p>
          <button type="button" class="primary" onClick={() => withUser(() => undefined)}>
            {t().logIn}
          </button>
        </header>
        <ul class="tiles">
          <For each={branch()?.areas}>{(one) => <AreaTile area={one} />}</For>
        </ul>
      </section>
    );
  }

  function stillFits(time: When | undefined, spans: When[]): boolean {
    return !!time && spans.some((one) => one.start <= time.start && time.end <= one.end) && time.end > now();
  }

  /** The slot that is running, for a usual stay; or the first of the next opening. */
  function soon(spans: When[]): When | undefined {
    const cut = daysOf(spans, zone()).flatMap(([, hours]) => hours);
    const first = cut.find((one) => one.end > now() + SOON);
    if (!first) return undefined;
    const start = Math.max(first.start, Math.floor(now() / SLOT) * SLOT);
    return { start, end: Math.min(start + STAY, first.end) };
  }
}
