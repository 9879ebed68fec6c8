// What is said aloud by a screen reader, and shown for a moment to everybody else.

import { createSignal, Show } from "solid-js";

const SHOWN_MS = 4_000;

const [spoken, setSpoken] = createSignal("");
const [shown, setShown] = createSignal("");
let timer: ReturnType<typeof setTimeout>;

/** "quietly": only to those who cannot see what has changed. */
export function say(text: string, how: "aloud" | "quietly" | "shown" = "aloud") {
  setSpoken(text);
  if (how !== "shown") return;
  setShown(text);
  clearTimeout(timer);
  timer = setTimeout(() => setShown(""), SHOWN_MS);
}

export function Announcer() {
  return (
    <>
      <p class="sr" role="status" aria-live="polite">
        {spoken()}
      </p>
      <Show when={shown()}>
        <p class="toast" aria-hidden="true">
          {shown()}
        </p>
      </Show>
    </>
  );
}
