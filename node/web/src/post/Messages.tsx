// Letters between people: who one writes with, and what was written, live.

import { createEffect, createMemo, createSignal, For, on, Show } from "solid-js";
import type { Conversation, Message } from "../gen/carrel/v1/message_pb";
import { messages as service } from "../rpc/clients";
import { ask, change } from "../rpc/link";
import { refusalOf } from "../rpc/refusal";
import { go, route } from "../route";
import { noteSessionOver, user, userId } from "../session";
import { Problem } from "../shell/Problem";
import { say } from "../shell/announce";
import { clock, dayOf, MINUTE, ms, now, ownZone } from "../time";
import { t } from "../words";
import { inWords } from "../words/refusals";
import { letters } from "./live";

/** How long a sender may take a letter back from everyone. */
const TAKE_BACK = 15 * MINUTE;
const PAGE = 200;
const PEOPLE_MAX = 16;

const short = (names: string[]) => names.map((name) => name.replace("users/", "")).join(", ");

export default function Messages() {
  const [conversations, setConversations] = createSignal<Conversation[]>([]);
  const [blocked, setBlocked] = createSignal<string[]>([]);
  const refresh = async () => {
    try {
      const [found, blocks] = await Promise.all([
        ask(() => service.listConversations({})),
        ask(() => service.listBlocks({})),
      ]);
      setConversations(found.conversations);
      setBlocked(blocks.users);
    } catch (error) {
      noteSessionOver(error);
    }
  };
  createEffect(on(letters, () => void refresh()));
  /** "ben,cleo" in the address. */
  const open = createMemo(() => {
    const people = (route()[1] ?? "").split(",").filter(Boolean);
    return people.map((one) => `users/${one}`);
  });
  const write = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const people = String(new FormData(form).get("to")).toLowerCase().split(/[\s,]+/).filter(Boolean);
    if (people.length) go(`/messages/${people.slice(0, PEOPLE_MAX).join(",")}`);
    form.reset();
  };
  return (
    <div class="letters" classList={{ reading: open().length > 0 }}>
      <section class="people">
        <h1>{t().views.messages}</h1>
        <form class="inline" onSubmit={write}>
          <label class="sr" for="to">
            {t().writeTo}
          </label>
          <input id="to" name="to" placeholder={t().writeTo} autocapitalize="none" autocomplete="off" required />
          <button type="submit" class="plain">
            {t().start}
          </button>
        </form>
        <ul class="rows">
          <For each={conversations()} fallback={<li class="empty">{t().noLetters}</li>}>
            {(one) => (
              <li>
                <button
                  type="button"
                  class="line"
                  aria-current={short(one.participants) === short(open()) ? "true" : undefined}
                  onClick={() => go(`/messages/${short(one.participants).replaceAll(", ", ",")}`)}
                >
                  <b>{short(one.participants) || t().notes}</b>
                  <span class="state">{clock(ms(one.lastMessage?.createTime), ownZone)}</span>
                  <span class="extras">{one.lastMessage?.text}</span>
                  <Show when={one.unreadCount}>
                    <b class="unread">{one.unreadCount}</b>
                  </Show>
                </button>
              </li>
            )}
          </For>
        </ul>
        <Show when={blocked().length}>
          <h2>{t().blocked}</h2>
          <ul class="rows">
            <For each={blocked()}>
              {(name) => (
                <li class="line">
                  <b>{short([name])}</b>
                  <button
                    type="button"
                    class="small plain"
                    onClick={async () => {
                      await change((requestId) => service.unblockUser({ requestId, name })).catch(noteSessionOver);
                      void refresh();
                    }}
                  >
                    {t().unblock}
                  </button>
                </li>
              )}
            </For>
          </ul>
        </Show>
      </section>
      <Show when={open().length} fallback={<section class="thread empty">{t().chooseLetters}</section>}>
        <Thread with={open()} onChange={() => void refresh()} />
      </Show>
    </div>
  );
}

function Thread(props: { with: string[]; onChange: () => void }) {
  const [written, setWritten] = createSignal<Message[]>([]);
  const [problem, setProblem] = createSignal("");
  const [isBusy, setBusy] = createSignal(false);
  let bubbles!: HTMLOListElement;
  const refresh = async () => {
    const participants = props.with;
    try {
      let pageToken = "";
      let all: Message[] = [];
      do {
        const page = await ask(() => service.listMessages({ participants, pageSize: PAGE, pageToken }));
        all = [...all, ...page.messages];
        pageToken = page.nextPageToken;
      } while (pageToken);
      if (participants !== props.with) return;
      setWritten(all);
      bubbles.scrollTop = bubbles.scrollHeight;
    } catch (error) {
      noteSessionOver(error);
    }
  };
  createEffect(on([() => props.with, letters], () => void refresh()));
  const act = async (attempt: (requestId: string) => Promise<unknown>, done?: string) => {
    setBusy(true);
    setProblem("");
    try {
      await change(attempt);
      if (done) say(done, "shown");
      await refresh();
      props.onChange();
      return true;
    } catch (error) {
      if (!noteSessionOver(error)) setProblem(inWords(refusalOf(error), ownZone));
      return false;
    } finally {
      setBusy(false);
    }
  };
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const text = String(new FormData(form).get("text")).trim();
    if (!text) return;
    if (await act((requestId) => service.sendMessage({ requestId, recipients: props.with, text }))) form.reset();
  };
  const canTakeBack = (one: Message) => one.sender === user()?.name && now() - ms(one.createTime) < TAKE_BACK;
  return (
    <section class="thread" aria-label={short(props.with)}>
      <header>
        <button type="button" class="small plain back" onClick={() => go("/messages")}>
          ← {t().views.messages}
        </button>
        <h2>{short(props.with)}</h2>
        <Show when={props.with.length === 1}>
          <button
            type="button"
            class="small plain"
            onClick={() =>
              void act((requestId) => service.blockUser({ requestId, name: props.with[0]! }), t().blockedNow)
            }
          >
            {t().block}
          </button>
        </Show>
      </header>
      <ol ref={bubbles} class="bubbles" tabindex="0" aria-label={short(props.with)}>
        <For each={written()}>
          {(one) => (
            <li classList={{ own: one.sender === user()?.name }}>
              <p>{one.text}</p>
              <small>
                <Show when={one.sender !== user()?.name}>{short([one.sender])} · </Show>
                {dayOf(ms(one.createTime), ownZone)}, {clock(ms(one.createTime), ownZone)}
                <button
                  type="button"
                  class="tiny"
                  onClick={() => void act((requestId) => service.deleteMessage({ requestId, name: one.name }))}
                >
                  {canTakeBack(one) ? t().takeBack : t().delete}
                </button>
                <Show when={one.sender !== user()?.name}>
                  <button
                    type="button"
                    class="tiny"
                    onClick={() =>
                      void act(
                        (requestId) => service.reportMessage({ requestId, name: one.name, reason: "" }),
                        t().reported,
                      )
                    }
                  >
                    {t().report}
                  </button>
                </Show>
              </small>
            </li>
          )}
        </For>
      </ol>
      <Problem text={problem()} />
      <form class="inline writing" onSubmit={send}>
        <label class="sr" for="text">
          {t().letter(userId())}
        </label>
        <textarea id="text" name="text" rows="2" placeholder={t().writeSomething} maxlength="4000" required />
        <button type="submit" class="primary" disabled={isBusy()}>
          {t().send}
        </button>
      </form>
    </section>
  );
}
