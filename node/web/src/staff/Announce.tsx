// Telling everybody something, once; or those whom it concerns.

import { For, Show } from "solid-js";
import { Role } from "../gen/carrel/v1/role_pb";
import { messages } from "../rpc/clients";
import { deed } from "../rpc/deed";
import { branches } from "../seats/places";
import { isAdmin, user } from "../session";
import { ownZone } from "../time";
import { t } from "../words";

const ROLES = [Role.PATRON, Role.LIBRARIAN, Role.ADMIN, Role.AUDITOR, Role.KIOSK];

export function Announce() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  /** The branches that one may speak for. */
  const own = () => (branches() ?? []).filter((one) => isAdmin() || user()?.branches.includes(one.name));
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const data = new FormData(form);
    const [text, whom] = [String(data.get("text")).trim(), String(data.get("whom"))];
    const audience = whom.startsWith("branches/")
      ? { case: "branch" as const, value: whom }
      : whom
        ? { case: "role" as const, value: Number(whom) as Role }
        : { case: undefined };
    if (await perform((requestId) => messages.broadcast({ requestId, text, audience }), t().announced)) form.reset();
  };
  return (
    <form class="stack panel" onSubmit={submit}>
      <h2>{t().desk.announce}</h2>
      <div class="field">
        <label for="whom">{t().toWhom}</label>
        <select id="whom" name="whom">
          <option value="">{t().toEverybody}</option>
          <optgroup label={t().whoFollows}>
            <For each={own()}>{(one) => <option value={one.name}>{one.displayName}</option>}</For>
          </optgroup>
          <Show when={isAdmin()}>
            <optgroup label={t().roleOf}>
              <For each={ROLES}>{(role) => <option value={role}>{t().roleNames[role]}</option>}</For>
            </optgroup>
          </Show>
        </select>
      </div>
      <div class="field">
        <label for="announcement">{t().text}</label>
        <textarea id="announcement" name="text" rows="4" maxlength="4000" required />
      </div>
      <p class="problem" role="alert">
        {problem()}
      </p>
      <button type="submit" class="primary" disabled={isBusy()}>
        {t().announce}
      </button>
    </form>
  );
}
