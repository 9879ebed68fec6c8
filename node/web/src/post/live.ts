// Everything that happens to a person, as it happens: one stream for the whole page, which goes on where it was after
// any cut, through whatever node answers.

import { createEffect, createSignal, on, onCleanup } from "solid-js";
import { refreshMine } from "../day/mine";
import { type InboxItem, InboxItem_Kind as Kind } from "../gen/carrel/v1/inbox_pb";
import { inbox } from "../rpc/clients";
import { ask, change, follow } from "../rpc/link";
import { noteSessionOver, setUnread, user } from "../session";
import { say } from "../shell/announce";
import { t } from "../words";

/** The newest first; older ones are let go of, as the cluster does. */
const ITEMS_MAX = 500;
const PAGE = 200;

const [items, setItems] = createSignal<InboxItem[]>([]);
/** Grows with every letter that comes or is taken back. */
const [letters, setLetters] = createSignal(0);
export { items, letters };

const isLetter = (item: InboxItem) => [Kind.MESSAGE, Kind.UNSENT].includes(item.kind);

function take(item: InboxItem) {
  if (items().some((one) => one.name === item.name)) return;
  const kept = item.kind === Kind.UNSENT ? items().filter((one) => one.message !== item.message) : [item, ...items()];
  setItems(kept.slice(0, ITEMS_MAX));
  if (isLetter(item)) setLetters((count) => count + 1);
  if (item.kind === Kind.UNSENT) return;
  if (item.unread) setUnread((count) => count + 1);
  say(t().kinds[item.kind] ?? t().views.inbox!, "shown");
  // Whatever it is about: places, offers and reservations may have changed.
  if (item.subject) void refreshMine();
}

/** From the oldest kept to the newest, then whatever comes. */
async function readAll(signal: AbortSignal) {
  let after = "";
  let all: InboxItem[] = [];
  for (;;) {
    const page = await ask(() => inbox.listInbox({ after, pageSize: PAGE }));
    if (signal.aborted) return;
    all = [...all, ...page.items].slice(-ITEMS_MAX);
    after = page.resumeToken;
    setUnread(page.unreadCount);
    if (!page.more) break;
  }
  const gone = new Set(all.filter((item) => item.kind === Kind.UNSENT).map((item) => item.message));
  setItems(all.filter((item) => item.kind !== Kind.UNSENT && !gone.has(item.message)).reverse());
  await follow(
    (token, stop) => inbox.watchInbox({ after: token || after }, { signal: stop, timeoutMs: 0 }),
    ({ event }) => {
      if (event.case === "item") take(event.value);
    },
    signal,
  );
}

/** Called once, by the shell. */
export function keepInboxLive() {
  createEffect(
    on(
      () => user()?.name,
      (name) => {
        setItems([]);
        if (!name) return;
        const stop = new AbortController();
        readAll(stop.signal).catch(noteSessionOver);
        onCleanup(() => stop.abort());
      },
    ),
  );
}

/** Everything that is shown has been read. */
export async function markRead() {
  const newest = items().find((item) => item.unread);
  if (!newest) return;
  const resumeToken = items()[0]!.resumeToken;
  try {
    const answer = await change((requestId) => inbox.advanceReadCursor({ requestId, resumeToken }));
    setUnread(answer.unreadCount);
    setItems(items().map((item) => ({ ...item, unread: false })));
  } catch (error) {
    noteSessionOver(error);
  }
}
