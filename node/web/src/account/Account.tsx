// One's account: the password, where one is logged in, whose announcements one hears, strikes, and all that is kept.

import { toJson } from "@bufbuild/protobuf";
import { createMemo, createSignal, For, Show } from "solid-js";
import type { Session } from "../gen/carrel/v1/auth_pb";
import { Role } from "../gen/carrel/v1/role_pb";
import { ExportMyDataResponseSchema, type Strike } from "../gen/carrel/v1/user_pb";
import { auth, inbox, users } from "../rpc/clients";
import { deed } from "../rpc/deed";
import { refusalOf } from "../rpc/refusal";
import { go } from "../route";
import { forget, user, userId } from "../session";
import { branches } from "../seats/places";
import { Problem } from "../shell/Problem";
import { say } from "../shell/announce";
import { download } from "../shell/download";
import { clock, dayOf, ms, now, ownZone } from "../time";
import { t } from "../words";

const moment = (time: number) => `${dayOf(time, ownZone)}, ${clock(time, ownZone)}`;

export default function Account() {
  const suspended = () => ms(user()?.suspendedUntil);
  return (
    <div class="column">
      <header>
        <h1>{userId()}</h1>
        <p class="quiet">{t().roleNames[user()?.role ?? Role.UNSPECIFIED]}</p>
      </header>
      <Show when={suspended() > now()}>
        <p class="verdict">{t().suspendedUntil(dayOf(suspended(), ownZone))}</p>
      </Show>
      <Password />
      <Sessions />
      <Follows />
      <Show when={user()?.role === Role.PATRON}>
        <Strikes />
      </Show>
      <Data />
    </div>
  );
}

/**
 * Not recorded by a request id, as a password is not: after an answer that was lost, the one that counts may be either
 * of the two.
 */
function passwordChange(password: string, newPassword: string) {
  let isAgain = false;
  return async () => {
    try {
      return await auth.changePassword({ password, newPassword });
    } catch (error) {
      const isWrong = refusalOf(error).reason === "CREDENTIALS_INVALID";
      if (isAgain && isWrong) return auth.changePassword({ password: newPassword, newPassword });
      isAgain = true;
      throw error;
    }
  };
}

function Password() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const field = (name: string) => String(new FormData(form).get(name));
    if (await perform(passwordChange(field("old"), field("new")), t().passwordChanged)) form.reset();
  };
  return (
    <form class="card small-card" onSubmit={submit} aria-labelledby="password-title">
      <h2 id="password-title">{t().changePassword}</h2>
      {/* For whatever keeps passwords: whose it is. */}
      <input type="text" name="username" autocomplete="username" value={userId()} readonly hidden />
      <div class="halves">
        <div class="field">
          <label for="old">{t().passwordNow}</label>
          <input id="old" name="old" type="password" autocomplete="current-password" required />
        </div>
        <div class="field">
          <label for="new">{t().passwordNew}</label>
          <input id="new" name="new" type="password" autocomplete="new-password" required />
        </div>
      </div>
      <Problem text={problem()} />
      <div class="actions">
        <button type="submit" class="primary" disabled={isBusy()}>
          {t().changePassword}
        </button>
      </div>
    </form>
  );
}

function Sessions() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [sessions, setSessions] = createSignal<Session[]>([]);
  const refresh = async () => {
    const found = await perform(() => auth.listSessions({}));
    if (found) setSessions(found.sessions);
  };
  void refresh();
  return (
    <section class="card small-card" aria-labelledby="sessions">
      <h2 id="sessions">{t().sessions}</h2>
      <ul class="rows">
        <For each={sessions()}>
          {(one) => (
            <li class="line pair-line" data-session={one.current ? "current" : "other"}>
              <span>
                <b>{one.current ? t().thisSession : t().otherSession}</b>{" "}
                <span class="quiet">{t().since(moment(ms(one.createTime)))}</span>
              </span>
              <Show when={!one.current}>
                <button
                  type="button"
                  class="small plain"
                  disabled={isBusy()}
                  onClick={async () => {
                    await perform((requestId) => auth.revokeSession({ requestId, name: one.name }), t().sessionEnded);
                    await refresh();
                  }}
                >
                  {t().logOut}
                </button>
              </Show>
            </li>
          )}
        </For>
      </ul>
      <Problem text={problem()} />
    </section>
  );
}

function Follows() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [followed, setFollowed] = createSignal<string[]>();
  void perform(() => inbox.getNotificationPreferences({})).then((found) => {
    if (found) setFollowed(found.preferences?.followedBranches ?? []);
  });
  const change = async (branch: string, isWanted: boolean) => {
    const others = followed()!.filter((one) => one !== branch);
    const followedBranches = isWanted ? [...others, branch] : others;
    const done = await perform(
      (requestId) => inbox.updateNotificationPreferences({ requestId, preferences: { followedBranches } }),
      t().saved,
    );
    // What was not saved is not shown as if it were.
    setFollowed(done ? followedBranches : [...followed()!]);
  };
  return (
    <Show when={followed()}>
      {(all) => (
        <fieldset class="card small-card chips">
          <legend>
            <h2>{t().announcementsOf}</h2>
          </legend>
          <For each={branches()}>
            {(branch) => (
              <label class="chip">
                <input
                  type="checkbox"
                  disabled={isBusy()}
                  checked={all().includes(branch.name)}
                  onChange={(event) => void change(branch.name, event.target.checked)}
                />
                <span>{branch.displayName}</span>
              </label>
            )}
          </For>
          <Problem text={problem()} />
        </fieldset>
      )}
    </Show>
  );
}

function Strikes() {
  const { problem, perform } = deed(() => ownZone);
  const [strikes, setStrikes] = createSignal<Strike[]>();
  void perform(() => users.listStrikes({})).then((found) => setStrikes(found?.strikes));
  return (
    <section class="card small-card" aria-labelledby="strikes">
      <h2 id="strikes">{t().strikes}</h2>
      <ul class="rows">
        <For each={strikes()} fallback={<li class="quiet">{strikes() && t().noStrikes}</li>}>
          {(strike) => (
            <li class="line pair-line">
              <span>
                <b>{t().causes[strike.cause]}</b> <span class="quiet">{moment(ms(strike.createTime))}</span>
              </span>
              <Show when={strike.waived}>
                <span class="quiet">{t().waived}</span>
              </Show>
            </li>
          )}
        </For>
      </ul>
      <Problem text={problem()} />
    </section>
  );
}

function Data() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const [isSure, setSure] = createSignal(false);
  const name = createMemo(() => user()?.name ?? "");
  const take = async () => {
    const all = await perform(() => users.exportMyData({}));
    if (!all) return;
    download(`${userId()}.json`, "application/json", [JSON.stringify(toJson(ExportMyDataResponseSchema, all), null, 1)]);
  };
  const remove = async () => {
    if (!(await perform((requestId) => users.deleteUser({ requestId, name: name() })))) return;
    say(t().accountDeleted, "shown");
    forget();
    go("/seats");
  };
  return (
    <section class="card small-card" aria-labelledby="data">
      <h2 id="data">{t().myData}</h2>
      <Problem text={problem()} />
      <div class="actions">
        <button type="button" class="plain" disabled={isBusy()} onClick={() => void take()}>
          {t().downloadMyData}
        </button>
        <button
          type="button"
          class={isSure() ? "danger" : "plain"}
          disabled={isBusy()}
          onClick={() => (isSure() ? void remove() : setSure(true))}
          onBlur={() => setSure(false)}
        >
          {isSure() ? t().reallyDelete : t().deleteAccount}
        </button>
      </div>
    </section>
  );
}
