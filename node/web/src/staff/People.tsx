// Accounts: strikes and waivers, suspensions.

import { createSignal, For, Show } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { Role } from "../gen/carrel/v1/role_pb";
import { type Strike, type User } from "../gen/carrel/v1/user_pb";
import { users } from "../rpc/clients";
import { ask } from "../rpc/link";
import { lastPart } from "../seats/places";
import { noteSessionOver } from "../session";
import { Problem } from "../shell/Problem";
import { at, DAY, dayOf, ms, now, ownZone } from "../time";
import { t } from "../words";
import { deed } from "../rpc/deed";

const PAGE = 50;
const SUSPEND = 7 * DAY;

export function People() {
  // Whoever stays in the list keeps what was written beside them.
  const [people, setPeople] = createStore<{ found?: User[] }>({});
  const setFound = (found: User[]) => setPeople("found", reconcile(found, { key: "name" }));
  const search = async (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = String(new FormData(event.currentTarget as HTMLFormElement).get("filter")).trim();
    const filter = /[*?]/.test(wanted) ? wanted : `${wanted}*`;
    try {
      setFound((await ask(() => users.listUsers({ filter, pageSize: PAGE }))).users);
    } catch (error) {
      noteSessionOver(error);
    }
  };
  const replace = (changed: User | undefined) => {
    if (changed) setFound((people.found ?? []).map((one) => (one.name === changed.name ? changed : one)));
  };
  return (
    <section>
      <form class="inline" onSubmit={search}>
        <label class="sr" for="filter">
          {t().searchPeople}
        </label>
        <input
          id="filter"
          name="filter"
          placeholder={t().searchPeople}
          autocapitalize="none"
          autocomplete="off"
          maxlength="63"
        />
        <button type="submit" class="primary">
          {t().search}
        </button>
      </form>
      <Show when={people.found}>
        <ul class="people-found">
          <For each={people.found} fallback={<li class="empty">{t().nobodyFound}</li>}>
            {(one) => <Person user={one} onChange={replace} />}
          </For>
        </ul>
      </Show>
    </section>
  );
}

function Person(props: { user: User; onChange: (user: User | undefined) => void }) {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [strikes, setStrikes] = createSignal<Strike[]>();
  const [reason, setReason] = createSignal("");
  const name = () => props.user.name;
  const isSuspended = () => ms(props.user.suspendedUntil) > now();
  const open = async () => {
    const answer = await perform(() => users.listStrikes({ name: name() }));
    if (answer) setStrikes(answer.strikes);
  };
  return (
    <li class="card small-card">
      <header>
        <div>
          <h3>{name().replace("users/", "")}</h3>
          <p class="quiet">
            {t().roleNames[props.user.role]}
            <Show when={isSuspended()}> · {t().suspendedUntil(dayOf(ms(props.user.suspendedUntil), ownZone))}</Show>
          </p>
        </div>
        <Show when={props.user.role === Role.PATRON}>
          <div class="actions">
            <button type="button" class="small plain" disabled={isBusy()} onClick={() => void open()}>
              {t().strikes}
            </button>
            <button
              type="button"
              class="small plain"
              disabled={isBusy()}
              onClick={async () => {
                const answer = await perform(
                  (requestId): Promise<{ user?: User }> =>
                    isSuspended()
                      ? users.unsuspendUser({ requestId, name: name(), reason: reason() })
                      : users.suspendUser({ requestId, name: name(), until: at(now() + SUSPEND), reason: reason() }),
                  t().done,
                );
                props.onChange(answer?.user);
              }}
            >
              {isSuspended() ? t().unsuspend : t().suspend}
            </button>
          </div>
        </Show>
      </header>
      <Show when={props.user.role === Role.PATRON}>
        <label class="sr" for={`reason-${lastPart(name())}`}>
          {t().reason}
        </label>
        <input
          id={`reason-${lastPart(name())}`}
          placeholder={t().reason}
          maxlength="200"
          value={reason()}
          onInput={(e) => setReason(e.target.value)}
        />
      </Show>
      <Problem text={problem()} />
      <Show when={strikes()}>
        <ul class="rows">
          <For each={strikes()} fallback={<li class="quiet">{t().noStrikes}</li>}>
            {(strike) => (
              <li class="line">
                <b>{dayOf(ms(strike.createTime), ownZone)}</b>
                <span class="state">{t().causes[strike.cause]}</span>
                <Show when={!strike.waived} fallback={<span class="extras">{t().waived}</span>}>
                  <button
                    type="button"
                    class="small plain"
                    disabled={isBusy()}
                    onClick={async () => {
                      const { reservation } = strike;
                      const answer = await perform(
                        (requestId) => users.waiveStrike({ requestId, name: name(), reservation, reason: reason() }),
                        t().waived,
                      );
                      props.onChange(answer?.user);
                      await open();
                    }}
                  >
                    {t().waive}
                  </button>
                </Show>
              </li>
            )}
          </For>
        </ul>
      </Show>
    </li>
  );
}
