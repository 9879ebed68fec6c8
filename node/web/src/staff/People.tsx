// Accounts: strikes and waivers, suspensions, roles, and who needs an accessible seat.

import { createSignal, For, Show } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { Role } from "../gen/carrel/v1/role_pb";
import { type Strike, type User } from "../gen/carrel/v1/user_pb";
import { users } from "../rpc/clients";
import { branches, branchNamed, lastPart } from "../seats/places";
import { isAdmin } from "../session";
import { Icon } from "../shell/Icon";
import { Problem } from "../shell/Problem";
import { at, DAY, dayOf, ms, now, ownZone } from "../time";
import { t } from "../words";
import { deed } from "../rpc/deed";

const PAGE = 50;
const SUSPEND = 7 * DAY;
const ROLES = [Role.PATRON, Role.LIBRARIAN, Role.ADMIN, Role.AUDITOR, Role.KIOSK];

export function People() {
  const { problem, perform } = deed(() => ownZone);
  // Whoever stays in the list keeps what was written beside them.
  const [people, setPeople] = createStore<{ found?: User[] }>({});
  const setFound = (found: User[]) => setPeople("found", reconcile(found, { key: "name" }));
  // Who is asked for last is who is shown, whatever is answered last.
  let asked = 0;
  const look = async (filter: string) => {
    const turn = ++asked;
    const found = await perform(() => users.listUsers({ filter, pageSize: PAGE }));
    if (found && turn === asked) setFound(found.users);
  };
  const search = (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = String(new FormData(event.currentTarget as HTMLFormElement).get("filter")).trim().toLowerCase();
    void look(/[*?]/.test(wanted) ? wanted : `${wanted}*`);
  };
  /** What somebody needs is told in lists alone: it is as it was, if nothing else is known. */
  const replace = (changed: User | undefined) => {
    if (!changed) return;
    setFound(
      (people.found ?? []).map((one) =>
        one.name === changed.name ? { ...changed, needsAccessible: changed.needsAccessible ?? one.needsAccessible } : one,
      ),
    );
  };
  void look("*");
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
      <Problem text={problem()} />
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
  /** What is asked before anything is done to anybody: the record says why. */
  const [asksReason, setAsksReason] = createSignal(false);
  const [isChanging, setChanging] = createSignal(false);
  let reasonField: HTMLInputElement | undefined;
  const name = () => props.user.name;
  const isSuspended = () => ms(props.user.suspendedUntil) > now();
  const open = async () => {
    const answer = await perform(() => users.listStrikes({ name: name() }));
    if (!answer) return;
    setStrikes(answer.strikes);
    if (answer.strikes.some((strike) => !strike.waived)) setAsksReason(true);
  };
  return (
    <li class="card small-card" data-person={name()}>
      <header>
        <div>
          <h3>{name().replace("users/", "")}</h3>
          <p class="quiet">
            {t().roleNames[props.user.role]}
            <Show when={props.user.branches.length}>
              {" "}
              · {props.user.branches.map((one) => branchNamed(one)?.displayName ?? lastPart(one)).join(", ")}
            </Show>
            <Show when={props.user.needsAccessible}>
              {" "}
              · <Icon name="accessible" /> {t().needsAccessible}
            </Show>
            <Show when={isSuspended()}> · {t().suspendedUntil(dayOf(ms(props.user.suspendedUntil), ownZone))}</Show>
          </p>
        </div>
        <div class="actions">
          <Show when={props.user.role === Role.PATRON}>
            <button type="button" class="small plain" disabled={isBusy()} onClick={() => void open()}>
              {t().strikes}
            </button>
            <button
              type="button"
              class="small plain"
              disabled={isBusy()}
              onClick={async () => {
                if (!asksReason()) {
                  setAsksReason(true);
                  return reasonField?.focus();
                }
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
          </Show>
          <Show when={isAdmin() || props.user.role === Role.PATRON}>
            <button
              type="button"
              class="small plain"
              aria-expanded={isChanging()}
              onClick={() => setChanging(!isChanging())}
            >
              {t().change}
            </button>
          </Show>
        </div>
      </header>
      <Show when={asksReason()}>
        <label class="sr" for={`reason-${lastPart(name())}`}>
          {t().reason}
        </label>
        <input
          ref={reasonField}
          id={`reason-${lastPart(name())}`}
          placeholder={t().reason}
          maxlength="200"
          value={reason()}
          onInput={(e) => setReason(e.target.value)}
        />
      </Show>
      <Show when={isChanging()}>
        <Particulars user={props.user} onChange={props.onChange} />
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

/** What somebody may do and where, for admins to say; and what they need, for all staff. Only what differs is changed. */
function Particulars(props: { user: User; onChange: (user: User | undefined) => void }) {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [role, setRole] = createSignal(props.user.role);
  const id = () => lastPart(props.user.name);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget as HTMLFormElement);
    const { name } = props.user;
    const own = role() === Role.LIBRARIAN ? data.getAll("branch").map(String).sort() : [];
    if (isAdmin() && (role() !== props.user.role || own.join() !== [...props.user.branches].sort().join())) {
      const wish = { name, role: role(), branches: own };
      const done = await perform((requestId) => users.setUserRole({ requestId, ...wish }), t().saved);
      if (!done) return;
      props.onChange(done.user);
    }
    const needsAccessible = data.has("accessible");
    if (props.user.role === Role.PATRON && needsAccessible !== !!props.user.needsAccessible) {
      const done = await perform((requestId) => users.setAccessibility({ requestId, name, needsAccessible }), t().saved);
      if (done?.user) props.onChange({ ...done.user, needsAccessible });
    }
  };
  return (
    <form class="stack particulars" onSubmit={submit}>
      <Show when={isAdmin()}>
        <div class="field">
          <label for={`role-${id()}`}>{t().role}</label>
          <select id={`role-${id()}`} onChange={(e) => setRole(Number(e.target.value))}>
            <For each={ROLES}>
              {(one) => (
                <option value={one} selected={one === role()}>
                  {t().roleNames[one]}
                </option>
              )}
            </For>
          </select>
        </div>
        <Show when={role() === Role.LIBRARIAN}>
          <fieldset class="chips">
            <legend>{t().looksAfter}</legend>
            <For each={branches()}>
              {(branch) => (
                <label class="chip">
                  <input
                    type="checkbox"
                    name="branch"
                    value={branch.name}
                    checked={props.user.branches.includes(branch.name)}
                  />
                  <span>{branch.displayName}</span>
                </label>
              )}
            </For>
          </fieldset>
        </Show>
      </Show>
      <Show when={props.user.role === Role.PATRON && role() === Role.PATRON}>
        <label class="switch">
          <input type="checkbox" name="accessible" checked={props.user.needsAccessible} /> {t().needsAccessible}
        </label>
      </Show>
      <Problem text={problem()} />
      <div class="actions">
        <button type="submit" class="small primary" disabled={isBusy()}>
          {t().save}
        </button>
      </div>
    </form>
  );
}
