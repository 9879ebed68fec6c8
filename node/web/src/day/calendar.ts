// A reservation as a file that every calendar takes.

import type { Reservation } from "../gen/carrel/v1/reservation_pb";
import { branchNamed, lastPart, seatLabel } from "../seats/places";
import { download } from "../shell/download";
import { ms } from "../time";
import { t } from "../words";

const stamp = (time: number) => new Date(time).toISOString().replace(/[-:]|\.\d+/g, "");
/** What has a meaning in the format, and the ends of lines. */
const escaped = (text: string) => text.replace(/[\\;,]/g, "\\$&").replace(/\r?\n/g, "\\n");

export function calendarFile(reservation: Reservation) {
  const { name, seat, startTime, endTime, revision } = reservation;
  const lines = [
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//Carrel//Page//EN",
    "BEGIN:VEVENT",
    `UID:${lastPart(name)}@${location.hostname}`,
    `SEQUENCE:${revision}`,
    `DTSTAMP:${stamp(Date.now())}`,
    `DTSTART:${stamp(ms(startTime))}`,
    `DTEND:${stamp(ms(endTime))}`,
    `SUMMARY:${escaped(`${t().seat} ${seatLabel(seat)}`)}`,
    `LOCATION:${escaped(branchNamed(seat)?.displayName ?? "")}`,
    "END:VEVENT",
    "END:VCALENDAR",
    "",
  ];
  download(`${lastPart(seat)}.ics`, "text/calendar", [lines.join("\r\n")]);
}
