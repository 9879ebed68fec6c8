// The floor as the catalogue has it, in metres. Its seats are buttons: one stop of the Tab key for all of them, arrows
// between them, the nearest in that direction.

import { createMemo, createSignal, For } from "solid-js";
import { t } from "../words";
import type { ShownSeat, When } from "./live";
import { seatInWords } from "./SeatList";

/** Metres around the outermost seats. */
const MARGIN = 1;
const DESK = 0.72;
/**
 * So that one finds what one means and can read it, a metre is never less than this many pixels, and more for fingers:
 * narrower screens scroll.
 */
const METRE_MIN_PX = window.matchMedia("(pointer: coarse)").matches ? 33 : 27;
/** Labels of more letters are smaller. */
const LABEL_LARGE_MAX = 3;

const ARROWS: { [key: string]: [number, number] } = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function FloorMap(props: {
  title: string;
  seats: ShownSeat[];
  fits: (seat: ShownSeat) => boolean;
  zone: string;
  when: When | undefined;
  onPick: (seat: ShownSeat) => void;
}) {
  const box = createMemo(() => {
    const [xs, ys] = [props.seats.map((seat) => seat.x), props.seats.map((seat) => seat.y)];
    const [left, top] = [Math.min(...xs) - MARGIN, Math.min(...ys) - MARGIN];
    return { left, top, width: Math.max(...xs) + MARGIN - left, height: Math.max(...ys) + MARGIN - top };
  });
  const [current, setCurrent] = createSignal<string>();
  const stop = () => (props.seats.some((seat) => seat.name === current()) ? current() : props.seats[0]?.name);
  const buttons = new Map<string, SVGGElement>();

  const move = (from: ShownSeat, [dx, dy]: [number, number]) => {
    let best: [number, ShownSeat] | undefined;
    for (const seat of props.seats) {
      const along = (seat.x - from.x) * dx + (seat.y - from.y) * dy;
      const aside = Math.abs((seat.x - from.x) * dy) + Math.abs((seat.y - from.y) * dx);
      if (along < 0.1) continue;
      const far = along + 3 * aside;
      if (!best || far < best[0]) best = [far, seat];
    }
    if (!best) return;
    setCurrent(best[1].name);
    buttons.get(best[1].name)?.focus();
  };
  const onKey = (seat: ShownSeat, event: KeyboardEvent) => {
    const arrow = ARROWS[event.key];
    if (arrow) move(seat, arrow);
    else if (event.key === "Enter" || event.key === " ") props.onPick(seat);
    else return;
    event.preventDefault();
  };

  return (
    <div class="floor">
      <ul class="legend" aria-label={t().legend}>
        <li>
          <i class="free" /> {t().states.free}
        </li>
        <li>
          <i class="taken" /> {t().states.taken}
        </li>
        <li>
          <i class="mine" /> {t().states.mine}
        </li>
      </ul>
      <div class="plan">
        <svg
          viewBox={`${box().left} ${box().top} ${box().width} ${box().height}`}
          width={Math.round(box().width * METRE_MIN_PX)}
          role="group"
          aria-label={t().mapOf(props.title)}
        >
          <rect
            class="room"
            x={box().left + 0.1}
            y={box().top + 0.1}
            width={box().width - 0.2}
            height={box().height - 0.2}
            rx="0.45"
          />
          <For each={props.seats}>
            {(seat) => (
              <g
                ref={(element) => buttons.set(seat.name, element)}
                class={`seat ${seat.state}`}
                classList={{ faint: !props.fits(seat) }}
                role="button"
                tabindex={seat.name === stop() ? 0 : -1}
                aria-label={seatInWords(seat, props.zone)}
                data-seat={seat.name}
                data-state={seat.state}
                transform={`translate(${seat.x} ${seat.y})`}
                onClick={() => (setCurrent(seat.name), props.onPick(seat))}
                onKeyDown={(event) => onKey(seat, event)}
                onFocus={() => setCurrent(seat.name)}
              >
                <circle class="reach" r="0.475" />
                <rect class="desk" x={-DESK / 2} y={-DESK / 2} width={DESK} height={DESK} rx="0.18" />
                <text class="label" classList={{ long: seat.label.length > LABEL_LARGE_MAX }} y="0.1">
                  {seat.label}
                </text>
                <circle class="dot" cx={DESK / 2 - 0.06} cy={-DESK / 2 + 0.06} r="0.13" />
              </g>
            )}
          </For>
        </svg>
      </div>
    </div>
  );
}
