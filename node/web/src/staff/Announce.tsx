// Telling everybody something, once.

import { messages } from "../rpc/clients";
import { ownZone } from "../time";
import { t } from "../words";
import { deed } from "./deed";

export function Announce() {
  const { isBusy, problem, perform } = deed(() => ownZone);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const text = String(new FormData(form).get("text")).trim();
    if (await perform((requestId) => messages.broadcast({ requestId, text }), t().announced)) form.reset();
  };
  return (
    <form class="stack panel" onSubmit={submit}>
      <h2>{t().desk.announce}</h2>
      <div class="field">
        <label for="announcement">{t().toEverybody}</label>
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
