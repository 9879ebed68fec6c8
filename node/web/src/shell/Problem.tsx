// What went wrong, said at once to whoever cannot see it.

import { Show } from "solid-js";

export function Problem(props: { text: string }) {
  return (
    <Show when={props.text}>
      <p class="problem" role="alert">
        {props.text}
      </p>
    </Show>
  );
}
