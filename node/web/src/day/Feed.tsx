// The address of one's calendar: told once, and worthless as soon as one says so.

import { createSignal, Show } from "solid-js";
import { calendars } from "../rpc/clients";
import { deed } from "../rpc/deed";
import { Problem } from "../shell/Problem";
import { say } from "../shell/announce";
import { ownZone } from "../time";
import { t } from "../words";

export function Feed() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [address, setAddress] = createSignal("");
  let shown!: HTMLInputElement;
  const make = async () => {
    const answer = await perform(() => calendars.createCalendarFeed({}));
    if (answer) setAddress(location.origin + answer.path);
  };
  const revoke = async () => {
    if (await perform((requestId) => calendars.revokeCalendarFeed({ requestId }), t().feedRevoked)) setAddress("");
  };
  const copy = async () => {
    shown.select();
    // Only where the page came by TLS, or from this machine; elsewhere it is marked, to be copied by hand.
    if (!navigator.clipboard) return;
    await navigator.clipboard.writeText(address()).then(
      () => say(t().copied, "shown"),
      () => undefined,
    );
  };
  return (
    <section class="card small-card" aria-labelledby="feed">
      <div>
        <h2 id="feed">{t().calendarFeed}</h2>
        <p class="quiet">{t().feedMeans}</p>
      </div>
      <Show when={address()}>
        <div class="field">
          <label for="feed-address">{t().feedOnce}</label>
          <div class="inline">
            <input ref={shown} id="feed-address" readonly value={address()} onFocus={() => shown.select()} />
            <button type="button" class="primary" onClick={() => void copy()}>
              {t().copy}
            </button>
          </div>
        </div>
      </Show>
      <Problem text={problem()} />
      <div class="actions">
        <button type="button" class="plain" disabled={isBusy()} onClick={() => void make()}>
          {address() ? t().makeAnotherFeed : t().makeFeed}
        </button>
        <button type="button" class="plain" disabled={isBusy()} onClick={() => void revoke()}>
          {t().revokeFeed}
        </button>
      </div>
    </section>
  );
}
