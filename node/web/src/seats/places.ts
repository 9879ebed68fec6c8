// Branches and their areas, looked up once and again every minute.

import { createSignal, untrack } from "solid-js";
import { createStore } from "solid-js/store";
import type { AreaSummary, BranchSummary } from "../gen/carrel/v1/catalog_pb";
import { catalog, seats } from "../rpc/clients";
import { ask } from "../rpc/link";
import { ownZone } from "../time";

const EVERY_MS = 60_000;

const [branches, setBranches] = createSignal<BranchSummary[]>();
export { branches };

export async function refreshPlaces() {
  const found = await ask(() => catalog.listBranches({})).catch(() => undefined);
  if (found) setBranches(found.branches);
}

void refreshPlaces();
setInterval(() => void refreshPlaces(), EVERY_MS);

/** "branches/main/areas/x" → "x" */
export const lastPart = (name: string) => name.slice(name.lastIndexOf("/") + 1);
export const branchOf = (name: string) => name.split("/").slice(0, 2).join("/");

export const branchNamed = (name: string): BranchSummary | undefined =>
  branches()?.find((branch) => branch.name === branchOf(name));
export const areaNamed = (name: string): AreaSummary | undefined =>
  branchNamed(name)?.areas.find((area) => area.name === name);
export const zoneOf = (name: string): string => branchNamed(name)?.timeZone ?? ownZone;

/** What is written on desks, by the names of their seats; empty while it is being looked up. */
const [labels, setLabels] = createStore<{ [seat: string]: string }>({});

export function noteLabels(seats: { name: string; label: string }[]) {
  setLabels(Object.fromEntries(seats.map((seat) => [seat.name, seat.label])));
}

/** What is written on the desk of a seat; until that is known its id, which is much the same. */
export function seatLabel(name: string): string {
  const known = labels[name];
  if (known === undefined && name) {
    queueMicrotask(() => {
      if (untrack(() => labels[name]) !== undefined) return;
      setLabels(name, "");
      void ask(() => seats.getSeat({ name })).then(
        ({ seat }) => setLabels(name, seat?.label ?? ""),
        () => undefined,
      );
    });
  }
  return known || lastPart(name).toUpperCase();
}
