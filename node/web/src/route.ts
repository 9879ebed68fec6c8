// Where in the page one is. Every view has an address of its own, which can be kept, sent and opened anew.

import { createSignal } from "solid-js";

const [path, setPath] = createSignal(location.pathname);
window.addEventListener("popstate", () => setPath(location.pathname));

/** ["seats", "lindenhof", "great-hall"] */
export const route = () => path().split("/").filter(Boolean).map(decodeURIComponent);

export function go(to: string, how: "push" | "replace" = "push") {
  if (to === path()) return;
  if (how === "push") history.pushState(null, "", to);
  else history.replaceState(null, "", to);
  setPath(to);
  if (how === "push") window.scrollTo(0, 0);
}
