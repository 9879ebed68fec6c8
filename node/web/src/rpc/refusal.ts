// What a node says instead of yes, told apart: a refusal, which is an answer, and trouble, after which one tries again.

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";
import { type Alternative, AlternativesSchema, type FailingRule, FailingRulesSchema } from "../gen/carrel/v1/seat_pb";

export interface Refusal {
  /** "SEAT_TAKEN" */
  reason: string;
  /** In English, for reasons that this page has no words for. */
  message: string;
  metadata: { [key: string]: string };
  /** Every rule that was not met, the one above first; may be empty. */
  rules: FailingRule[];
  /** Up to three. */
  alternatives: Alternative[];
}

export function refusalOf(error: unknown): Refusal {
  const failure = ConnectError.from(error);
  const info = failure.findDetails(ErrorInfoSchema)[0];
  return {
    reason: info?.reason ?? "UNREACHABLE",
    message: failure.rawMessage,
    metadata: info?.metadata ?? {},
    rules: failure.findDetails(FailingRulesSchema)[0]?.rules ?? [],
    alternatives: failure.findDetails(AlternativesSchema)[0]?.alternatives ?? [],
  };
}

/** The outcome is not known, or there is none yet: the same request again will tell. */
export function isTrouble(error: unknown): boolean {
  const failure = ConnectError.from(error);
  if (failure.code === Code.Canceled) return false;
  if (failure.code === Code.Unavailable || failure.code === Code.DeadlineExceeded) return true;
  // A connection that was cut says nothing in the node's own words.
  return failure.findDetails(ErrorInfoSchema).length === 0 && failure.code !== Code.Unimplemented;
}

export function isSessionOver(error: unknown): boolean {
  // Whoever mistypes a password in order to change it is who they were.
  return ConnectError.from(error).code === Code.Unauthenticated && refusalOf(error).reason !== "CREDENTIALS_INVALID";
}

/** How long the node asks to wait before the next attempt. */
export function askedToWait(error: unknown): number {
  const delay = ConnectError.from(error).findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay ? Number(delay.seconds) * 1_000 + delay.nanos / 1e6 : 0;
}
