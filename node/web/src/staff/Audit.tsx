// What was changed, by whom and why, as it stands in the record: newest first, a page at a time.

import { createSignal, For, Show } from "solid-js";
import type { AuditEvent, AuditEvent_Change } from "../gen/carrel/v1/audit_pb";
import { Reservation_State as State } from "../gen/carrel/v1/reservation_pb";
import { Role } from "../gen/carrel/v1/role_pb";
import { audit } from "../rpc/clients";
import { deed } from "../rpc/deed";
import { lastPart } from "../seats/places";
import { Problem } from "../shell/Problem";
import { clock, dayOf, ms, ownZone } from "../time";
import { t } from "../words";

const PAGE = 50;
/** Pages on which everything was somebody else's to know: whoever wants to look farther asks again. */
const EMPTY_PAGES_MAX = 20;

const moment = (time: number) => `${dayOf(time, ownZone)}, ${clock(time, ownZone)}`;

export default function Audit() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [events, setEvents] = createSignal<AuditEvent[]>();
  const [next, setNext] = createSignal("");
  let scope = { user: "", reservation: "" };
  const load = async (pageToken: string) => {
    const before = pageToken ? (events() ?? []) : [];
    let token = pageToken;
    for (let pages = 0; pages < EMPTY_PAGES_MAX; pages++) {
      const page = await perform(() => audit.listAuditEvents({ ...scope, pageSize: PAGE, pageToken: token }));
      if (!page) return;
      token = page.nextPageToken;
      setEvents([...before, ...page.events]);
      setNext(token);
      if (page.events.length || !token) return;
    }
  };
  const search = (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = String(new FormData(event.currentTarget as HTMLFormElement).get("about")).trim().toLowerCase();
    const isNumber = /^\d+$/.test(wanted);
    scope = {
      user: wanted && !isNumber ? `users/${wanted.replace(/^users\//, "")}` : "",
      reservation: isNumber ? `reservations/${wanted}` : "",
    };
    void load("");
  };
  void load("");
  return (
    <section class="stack" aria-label={t().desk.audit}>
      <form class="inline" onSubmit={search}>
        <label class="sr" for="about">
          {t().auditAbout}
        </label>
        <input id="about" name="about" placeholder={t().auditAbout} autocapitalize="none" autocomplete="off" maxlength="70" />
        <button type="submit" class="primary" disabled={isBusy()}>
          {t().search}
        </button>
      </form>
      <Problem text={problem()} />
      <Show when={events()}>
        <ol class="feed audit">
          <For each={events()} fallback={<li class="empty">{t().nothingFound}</li>}>
            {(one) => (
              <li data-action={one.action}>
                <time>{moment(ms(one.time))}</time>
                <div>
                  <p>
                    <b>{t().actions[one.action] ?? one.action.replaceAll("_", " ").toLowerCase()}</b> <span class="quiet">{about(one)}</span>
                  </p>
                  <For each={one.changes}>{(change) => <p class="change">{inWords(change)}</p>}</For>
                  <Show when={one.note}>
                    <p class="note">“{one.note}”</p>
                  </Show>
                </div>
              </li>
            )}
          </For>
        </ol>
        <Show when={next()}>
          <button type="button" class="plain" disabled={isBusy()} onClick={() => void load(next())}>
            {t().more}
          </button>
        </Show>
      </Show>
    </section>
  );
}

/** What the page has words for already. */
const KNOWN: { [text: string]: () => string | undefined } = {
  ...Object.fromEntries(named(Role).map(([name, number]) => [name, () => t().roleNames[number]])),
  ...Object.fromEntries(named(State).map(([name, number]) => [name, () => t().stateNames[number]])),
};

function named(all: { [name: string]: string | number }) {
  return Object.entries(all).filter((one): one is [string, number] => typeof one[1] === "number" && one[1] > 0);
}

const who = (name: string) => t().actors[name] ?? name.replace("users/", "");

/** "amy → ben · reservations/17" */
function about(one: AuditEvent): string {
  const people = [one.actor, ...(one.user && one.user !== one.actor ? [one.user] : [])].map(who).join(" → ");
  const thing = one.resource && one.resource !== one.user ? ` · ${one.resource}` : "";
  return people + thing;
}

function inWords({ field, before, after }: AuditEvent_Change): string {
  const value = (text: string) => {
    const time = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : NaN;
    if (!Number.isNaN(time)) return moment(time);
    const known = KNOWN[text];
    return known?.() ?? (text.includes("/") ? lastPart(text) : text.replaceAll("_", " ").toLowerCase());
  };
  const what = before ? `${value(before)} → ${after ? value(after) : "–"}` : value(after);
  return `${t().fields[field] ?? field.replaceAll("_", " ")}: ${what}`;
}
