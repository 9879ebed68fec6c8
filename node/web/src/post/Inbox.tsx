// Everything that happened to a person, newest first.

import { createMemo, For, onCleanup, Show } from "solid-js";
import { type InboxItem, InboxItem_Kind as Kind } from "../gen/carrel/v1/inbox_pb";
import { go } from "../route";
import { Icon } from "../shell/Icon";
import { clock, dateOf, dayOf, ms, ownZone } from "../time";
import { t } from "../words";
import { items, markRead } from "./live";

/** Long enough to have been seen. */
const READ_AFTER_MS = 2_500;

export default function Inbox() {
  const timer = setInterval(() => document.visibilityState === "visible" && void markRead(), READ_AFTER_MS);
  onCleanup(() => clearInterval(timer));
  const days = createMemo(() => [...new Set(items().map((item) => dateOf(ms(item.createTime), ownZone)))]);
  return (
    <div class="column">
      <h1>{t().views.inbox}</h1>
      <Show when={items().length} fallback={<p class="empty">{t().nothingHappened}</p>}>
        <For each={days()}>
          {(day) => {
            const ofDay = () => items().filter((item) => dateOf(ms(item.createTime), ownZone) === day);
            return (
              <section>
                <h2 class="day-name">{dayOf(ms(ofDay()[0]?.createTime), ownZone)}</h2>
                <ul class="feed">
                  <For each={ofDay()}>{(item) => <Item item={item} />}</For>
                </ul>
              </section>
            );
          }}
        </For>
      </Show>
    </div>
  );
}

function Item(props: { item: InboxItem }) {
  const sender = () => props.item.sender.replace("users/", "");
  const leadsTo = () => {
    if (props.item.kind === Kind.MESSAGE) return `/messages/${sender()}`;
    return props.item.subject ? "/day" : undefined;
  };
  const inner = () => (
    <>
      <span class="mark" aria-hidden="true">
        <Icon name={props.item.kind === Kind.MESSAGE ? "letters" : props.item.subject ? "day" : "inbox"} />
      </span>
      <span class="what">
        <b>{t().kinds[props.item.kind]}</b>
        <Show when={sender()}>
          <span class="quiet"> · {sender()}</span>
        </Show>
        <Show when={props.item.text}>
          <span class="words">{props.item.text}</span>
        </Show>
        <Show when={props.item.until}>
          <span class="words">
            {t().until} {clock(ms(props.item.until), ownZone)}
          </span>
        </Show>
      </span>
      <time>{clock(ms(props.item.createTime), ownZone)}</time>
    </>
  );
  return (
    <li classList={{ fresh: props.item.unread }} data-item={props.item.name}>
      <Show when={leadsTo()} fallback={<div class="entry">{inner()}</div>}>
        {(to) => (
          <button type="button" class="entry" onClick={() => go(to())}>
            {inner()}
          </button>
        )}
      </Show>
    </li>
  );
}
