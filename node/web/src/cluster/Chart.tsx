// A number of every node over the last seconds, a line each: the newest at the right, and what is older moves left.

import { createMemo, For } from "solid-js";
import { t } from "../words";

/** Between two points. */
export const STEP_MS = 1_000;
export const POINTS = 90;
const WIDTH = 900;
const HEIGHT = 260;
const MARGIN = 10;
/** Less is not made to look like much. */
const SPAN_MIN = 10;

export interface Point {
  time: number;
  /** By the node's id; missing: nobody could say. */
  values: { [id: string]: number };
}

export function Chart(props: { title: string; points: Point[]; ids: string[]; fromZero?: boolean }) {
  const bounds = createMemo(() => {
    const all = props.points.flatMap((point) => Object.values(point.values));
    const low = all.length && !props.fromZero ? Math.min(...all) : 0;
    return { low, high: Math.max(low + SPAN_MIN, ...all), end: props.points.at(-1)?.time ?? 0 };
  });
  const x = (time: number) => WIDTH - ((bounds().end - time) / (POINTS * STEP_MS)) * WIDTH;
  const y = (value: number) => {
    const share = (value - bounds().low) / (bounds().high - bounds().low);
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN);
  };
  /** A node that could not be asked for a while leaves a gap. */
  const line = (id: string) => {
    let path = "";
    let isDown = false;
    for (const { time, values } of props.points) {
      const value = values[id];
      if (value !== undefined) path += `${isDown ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
      isDown = value !== undefined;
    }
    return path;
  };
  /** "#1 4, #2 0": for whoever does not see lines. */
  const now = () => {
    const values = props.points.at(-1)?.values ?? {};
    return props.ids.map((id) => `#${id} ${values[id] ?? t().noAnswer}`).join(", ");
  };
  return (
    <figure class="chart">
      <figcaption>
        {props.title} <span class="quiet">{t().lastSeconds(POINTS)}</span>
      </figcaption>
      <div class="plot">
        <span class="bound">{bounds().high.toLocaleString()}</span>
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${props.title}: ${now()}`}
        >
          <For each={[0, 1, 2, 3, 4]}>
            {(part) => <path class="grid" d={`M0 ${MARGIN + (part * (HEIGHT - 2 * MARGIN)) / 4}H${WIDTH}`} />}
          </For>
          <For each={props.ids}>
            {(id, index) => <path class={`series line-${index() % 5}`} data-node={id} d={line(id)} />}
          </For>
        </svg>
        <span class="bound">{bounds().low.toLocaleString()}</span>
      </div>
    </figure>
  );
}
