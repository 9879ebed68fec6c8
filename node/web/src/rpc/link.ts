// Whether the page reaches the cluster, and what it does until it does again.

import { Code, ConnectError } from "@connectrpc/connect";
import { createSignal } from "solid-js";
import { askedToWait, isTrouble } from "./refusal";

/** Nodes remember requests for 15 minutes; a person has given up long before. */
const GIVE_UP_MS = 5 * 60_000;
const PAUSE_MIN_MS = 120;
const PAUSE_MAX_MS = 2_000;
/** A stream says something every 15 seconds; one that has missed two of these is dead. */
const SILENCE_MAX_MS = 35_000;

const troubled = new Set<symbol>();
const [isReconnecting, setReconnecting] = createSignal(false);
export { isReconnecting };

function note(who: symbol, isInTrouble: boolean) {
  if (isInTrouble) troubled.add(who);
  else troubled.delete(who);
  setReconnecting(troubled.size > 0);
}

const pause = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** Twice as long each time, and never all pages at once. */
function pauseBefore(attempt: number, error: unknown): number {
  const grown = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** attempt);
  return Math.max(grown, askedToWait(error)) * (0.7 + 0.6 * Math.random());
}

/** By hand, as `crypto.randomUUID` is there only where the page came by TLS. */
function drawUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function untilAnswered<T>(attempt: () => Promise<T>): Promise<T> {
  const who = Symbol();
  const begun = Date.now();
  for (let attempts = 0; ; attempts++) {
    try {
      const answer = await attempt();
      note(who, false);
      return answer;
    } catch (error) {
      const goesOn = isTrouble(error) && Date.now() - begun < GIVE_UP_MS;
      note(who, goesOn);
      if (!goesOn) throw error;
      await pause(pauseBefore(attempts, error));
    }
  }
}

/**
 * A change, made once: every attempt has the same request id, so that whichever node answers at last gives the answer of
 * the first attempt that counted.
 */
export function change<T>(attempt: (requestId: string) => Promise<T>): Promise<T> {
  const requestId = drawUuid();
  return untilAnswered(() => attempt(requestId));
}

/** A question, asked until it is answered. */
export function ask<T>(attempt: () => Promise<T>): Promise<T> {
  return untilAnswered(attempt);
}

/**
 * Follows a stream for as long as `signal` lets it, from the place that it has come to, through whatever node answers.
 * The place is kept only after `take` has seen the frame.
 */
export async function follow<F extends object>(
  open: (after: string, signal: AbortSignal) => AsyncIterable<F>,
  take: (frame: F) => void,
  signal: AbortSignal,
): Promise<void> {
  const who = Symbol();
  let after = "";
  let attempts = 0;
  while (!signal.aborted) {
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop, { once: true });
    let watchdog = setTimeout(stop, SILENCE_MAX_MS);
    let reason: unknown;
    try {
      for await (const frame of open(after, attempt.signal)) {
        clearTimeout(watchdog);
        watchdog = setTimeout(stop, SILENCE_MAX_MS);
        note(who, false);
        take(frame);
        if ("resumeToken" in frame && frame.resumeToken) after = String(frame.resumeToken);
        attempts = 0;
      }
    } catch (error) {
      reason = error;
      // The node keeps no more of what lies between: from the beginning, then.
      if (ConnectError.from(error).code === Code.OutOfRange) after = "";
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", stop);
    }
    if (signal.aborted) break;
    if (reason && !isTrouble(reason) && ConnectError.from(reason).code === Code.Unauthenticated) break;
    note(who, true);
    await pause(pauseBefore(attempts++, reason), signal);
  }
  note(who, false);
}
