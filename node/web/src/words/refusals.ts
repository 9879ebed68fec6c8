// A refusal as a sentence for whoever is refused.

import { clock, dayOf, length, MINUTE } from "../time";
import { t } from ".";

/** What a sentence may need to know of the numbers that come with a refusal. */
export interface Particulars {
  get: (key: string) => string;
  /** "Sat 21 Nov, 14:00" of an instant */
  moment: (key: string) => string;
  /** "2 h" of a number of minutes */
  minutes: (key: string) => string;
}

export function inWords(
  refusal: { reason: string; message: string; metadata: { [key: string]: string } },
  zone: string,
): string {
  const { reason, message, metadata } = refusal;
  const get = (key: string) => metadata[key] ?? "";
  const moment = (key: string) => {
    const time = Date.parse(get(key));
    return Number.isNaN(time) ? get(key) : `${dayOf(time, zone)}, ${clock(time, zone)}`;
  };
  const minutes = (key: string) => length(Number(get(key)) * MINUTE);
  const sentence = t().reasons[reason]?.({ get, moment, minutes });
  return sentence || `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
}
