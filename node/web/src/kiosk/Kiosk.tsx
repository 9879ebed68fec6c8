// A screen in the library: how many seats are free now, and, for a seat, the code that proves that somebody is there.

import { createEffect, createMemo, createSignal, For, onCleanup, Show } from "solid-js";
import { AreaTile } from "../seats/AreaTile";
import { refreshPlaces, branches, lastPart, seatLabel } from "../seats/places";
import { seats as service } from "../rpc/clients";
import { ask } from "../rpc/link";
import { refusalOf } from "../rpc/refusal";
import { go, route } from "../route";
import { isKiosk, isStaff, user } from "../session";
import { clock, countdown, dayOf, ms, now, ownZone } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";

const EVERY_MS = 3_000;

export default function Kiosk() {
  const timer = setInterval(() => void refreshPlaces(), EVERY_MS);
  onCleanup(() => clearInterval(timer));
  const branch = createMemo(() => branches()?.find((one) => lastPart(one.name) === route()[1]) ?? branches()?.[0]);
  const seat = () => (route()[2] && branch() ? `${branch()!.name}/seats/${route()[2]}` : undefined);
  return (
    <div class="kiosk">
      <Show when={branch()}>
        {(here) => (
          <>
            <header>
              <div>
                <p class="quiet">{dayOf(now(), here().timeZone)}</p>
                <h1>{here().displayName}</h1>
              </div>
              <p class="wall-clock">{clock(now(), here().timeZone)}</p>
            </header>
            <Show when={seat()} fallback={<FreeNow />}>
              {(name) => <Code seat={name()} />}
            </Show>
            <Show when={isKiosk() || isStaff()}>
              <form
                class="inline choose"
                onSubmit={(event) => {
                  event.preventDefault();
                  const wanted = String(new FormData(event.currentTarget).get("seat")).trim().toLowerCase();
                  go(`/kiosk/${lastPart(here().name)}${wanted ? `/${wanted}` : ""}`);
                }}
              >
                <label for="kiosk-seat">{t().codeOfSeat}</label>
                <input id="kiosk-seat" name="seat" placeholder="a-001" value={route()[2] ?? ""} autocomplete="off" />
                <button type="submit" class="plain">
                  {t().show}
                </button>
              </form>
            </Show>
            <Show when={!seat()}>
              <label class="choose">
                {t().branch}{" "}
                <select onChange={(e) => go(`/kiosk/${e.target.value}`)}>
                  <For each={branches()}>
                    {(one) => (
                      <option value={lastPart(one.name)} selected={one.name === here().name}>
                        {one.displayName}
                      </option>
                    )}
                  </For>
                </select>
              </label>
            </Show>
          </>
        )}
      </Show>
    </div>
  );

  function FreeNow() {
    return (
      <ul class="tiles">
        <For each={branch()?.areas.map((one) => one.name)}>
          {(name) => (
            <Show when={branch()?.areas.find((one) => one.name === name)}>{(area) => <AreaTile area={area()} />}</Show>
          )}
        </For>
      </ul>
    );
  }
}

function Code(props: { seat: string }) {
  const [code, setCode] = createSignal<{ code: string; expires: number }>();
  const [problem, setProblem] = createSignal("");
  let asking = false;
  const refresh = async () => {
    if (asking) return;
    asking = true;
    try {
      const answer = await ask(() => service.getPresenceCode({ seat: props.seat }));
      setCode({ code: answer.code, expires: ms(answer.expireTime) });
      setProblem("");
    } catch (error) {
      setProblem(inWords(refusalOf(error), ownZone));
    } finally {
      asking = false;
    }
  };
  createEffect(() => {
    props.seat;
    setCode(undefined);
    // Asked for by whoever may see it, and again once somebody has logged in who may.
    if (user()) void refresh();
    else setProblem(user() === null ? t().logInFirst : "");
  });
  createEffect(() => {
    const here = code();
    if (here && here.expires <= now()) void refresh();
  });
  return (
    <section class="code" aria-label={t().code}>
      <p>
        {t().seat} <b>{seatLabel(props.seat)}</b>
      </p>
      <Show when={code()} fallback={<p class="problem">{problem()}</p>}>
        {(here) => (
          <>
            <p class="digits" data-code>
              {here().code}
            </p>
            <p class="quiet">{t().nextCodeIn(countdown(here().expires - now()))}</p>
          </>
        )}
      </Show>
    </section>
  );
}
