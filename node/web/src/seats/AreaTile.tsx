// How many seats of an area are free now, large enough to be read across a room.

import type { AreaSummary } from "../gen/carrel/v1/catalog_pb";
import { t } from "../words";

export function AreaTile(props: { area: AreaSummary }) {
  const free = () => (props.area.open ? props.area.availableCount : 0);
  return (
    <li classList={{ full: !free() }}>
      <b>{props.area.open ? free() : "–"}</b>
      <span>{props.area.displayName}</span>
      <small>{props.area.open ? t().freeOf(props.area.seatCount) : t().closed}</small>
      <svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
        <rect class="all" width="100" height="4" />
        <rect class="part" width={(100 * free()) / (props.area.seatCount || 1)} height="4" />
      </svg>
    </li>
  );
}
