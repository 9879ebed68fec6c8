// Name and password, asked for when they are needed and not before.

import { createSignal, Show } from "solid-js";
import { refusalOf } from "../rpc/refusal";
import { endLogin, logIn, loginFor, register } from "../session";
import { ownZone } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";
import { Problem } from "./Problem";
import { Sheet } from "./Sheet";

export function Login() {
  const [isNew, setNew] = createSignal(false);
  const [isBusy, setBusy] = createSignal(false);
  const [problem, setProblem] = createSignal("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const [name, password] = [String(form.get("name")).trim().toLowerCase(), String(form.get("password"))];
    setBusy(true);
    setProblem("");
    try {
      await (isNew() ? register(name, password) : logIn(name, password));
      const then = loginFor();
      endLogin();
      then?.();
    } catch (error) {
      setProblem(inWords(refusalOf(error), ownZone));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Show when={loginFor()}>
      <Sheet title={isNew() ? t().newAccount : t().logIn} onClose={endLogin}>
        <form class="stack" onSubmit={submit}>
          <div class="field">
            <label for="name">{t().name}</label>
            <input
              id="name"
              name="name"
              autocomplete="username"
              autocapitalize="none"
              spellcheck={false}
              required
              autofocus
            />
          </div>
          <div class="field">
            <label for="password">{t().password}</label>
            <input
              id="password"
              name="password"
              type="password"
              autocomplete={isNew() ? "new-password" : "current-password"}
              required
            />
          </div>
          <Problem text={problem()} />
          <button type="submit" class="primary" disabled={isBusy()}>
            {isBusy() ? t().aMoment : isNew() ? t().createAccount : t().logIn}
          </button>
          <button type="button" class="plain" onClick={() => setNew(!isNew())}>
            {isNew() ? t().haveAccount : t().noAccount}
          </button>
        </form>
      </Sheet>
    </Show>
  );
}
