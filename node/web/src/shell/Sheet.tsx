// A dialog that comes up from below on a phone and from the side on a desk. The browser keeps the focus inside.

import { type JSX, onCleanup, onMount, Show } from "solid-js";
import { t } from "../words";
import { Icon } from "./Icon";

export function Sheet(props: { title: string; subtitle?: string; onClose: () => void; children: JSX.Element }) {
  let dialog!: HTMLDialogElement;
  const before = document.activeElement;
  onMount(() => dialog.showModal());
  onCleanup(() => {
    dialog.close();
    if (before instanceof HTMLElement || before instanceof SVGElement) before.focus();
  });
  return (
    <dialog
      ref={dialog}
      class="sheet"
      aria-label={props.title}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onClick={(event) => {
        // Only the surroundings are the dialog itself; everything else lies within.
        if (event.target === dialog) props.onClose();
      }}
    >
      <div class="within">
        <header>
          <div>
            <h2>{props.title}</h2>
            <Show when={props.subtitle}>
              <p class="quiet">{props.subtitle}</p>
            </Show>
          </div>
          <button type="button" class="round" aria-label={t().close} onClick={() => props.onClose()}>
            <Icon name="close" />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}
