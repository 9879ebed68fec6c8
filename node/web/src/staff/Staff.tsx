// The desk: what is going on in an area, who has come without a booking, what is closed, whom to forgive, what to tell
// everybody, how the library is used, what was changed, and the catalogue.

import { createEffect, createMemo, createSignal, For, lazy, Match, Show, Suspense, Switch } from "solid-js";
import { route } from "../route";
import { isAdmin, isAuditor, isStaff } from "../session";
import { branches, lastPart } from "../seats/places";
import { Link } from "../shell/Shell";
import { t } from "../words";
import { Announce } from "./Announce";
import { AreaDay } from "./AreaDay";
import { Close } from "./Close";
import { People } from "./People";
import { WalkIn } from "./WalkIn";

const Audit = lazy(() => import("./Audit"));
const Reports = lazy(() => import("./Reports"));
const Catalogue = lazy(() => import("./Catalogue"));

export interface Place {
  branch: string;
  area: string;
  zone: string;
}

export default function Staff() {
  const [chosenBranch, setBranch] = createSignal(localStorage.getItem("branch") ?? "");
  const [chosenArea, setArea] = createSignal("");
  const branch = createMemo(
    () => branches()?.find((one) => lastPart(one.name) === chosenBranch()) ?? branches()?.[0],
  );
  const area = createMemo(() => branch()?.areas.find((one) => one.name === chosenArea()) ?? branch()?.areas[0]);
  const place = createMemo((): Place | undefined => {
    const [here, part] = [branch(), area()];
    return here && part ? { branch: here.name, area: part.name, zone: here.timeZone } : undefined;
  });
  const choose = (id: string) => {
    localStorage.setItem("branch", id);
    setBranch(id);
  };
  const tabs = () => [
    ...(isStaff() ? ["today", "walkin", "closures", "people", "announce"] : []),
    "reports",
    "audit",
    ...(isAdmin() ? ["catalogue"] : []),
  ];
  const tab = () => (tabs().includes(route()[1] ?? "") ? route()[1]! : tabs()[0]!);
  // On a phone there are more tabs than fit: the one that is open is in sight.
  let bar: HTMLElement | undefined;
  createEffect(() => {
    tab();
    queueMicrotask(() => {
      const current = bar?.querySelector<HTMLElement>("[aria-current]");
      if (bar && current) bar.scrollLeft = current.offsetLeft - (bar.clientWidth - current.offsetWidth) / 2;
    });
  });
  return (
    <Show when={isStaff() || isAuditor()} fallback={<p class="empty">{t().staffOnly}</p>}>
      <div class="column wide">
        <header class="bar">
          <h1>{t().views.staff}</h1>
          <Show when={["today", "walkin", "closures", "reports"].includes(tab())}>
            <div class="inline">
              <label class="sr" for="staff-branch">
                {t().branch}
              </label>
              <select id="staff-branch" onChange={(e) => choose(e.target.value)}>
                <For each={branches()}>
                  {(one) => (
                    <option value={lastPart(one.name)} selected={one.name === branch()?.name}>
                      {one.displayName}
                    </option>
                  )}
                </For>
              </select>
              <Show when={tab() !== "reports"}>
                <label class="sr" for="staff-area">
                  {t().area}
                </label>
                <select id="staff-area" onChange={(e) => setArea(e.target.value)}>
                  <For each={branch()?.areas}>
                    {(one) => (
                      <option value={one.name} selected={one.name === area()?.name}>
                        {one.displayName}
                      </option>
                    )}
                  </For>
                </select>
              </Show>
            </div>
          </Show>
        </header>
        <nav ref={bar} class="subtabs" aria-label={t().views.staff}>
          <For each={tabs()}>
            {(one) => (
              <Link to={`/staff/${one}`} current={tab() === one}>
                {t().desk[one]}
              </Link>
            )}
          </For>
        </nav>
        <Suspense>
          <Switch>
            <Match when={tab() === "today" && place()}>{(here) => <AreaDay place={here()} />}</Match>
            <Match when={tab() === "walkin" && place()}>{(here) => <WalkIn place={here()} />}</Match>
            <Match when={tab() === "closures" && place()}>{(here) => <Close place={here()} />}</Match>
            <Match when={tab() === "people"}>
              <People />
            </Match>
            <Match when={tab() === "announce"}>
              <Announce />
            </Match>
            <Match when={tab() === "reports" && place()}>{(here) => <Reports place={here()} />}</Match>
            <Match when={tab() === "audit"}>
              <Audit />
            </Match>
            <Match when={tab() === "catalogue"}>
              <Catalogue />
            </Match>
          </Switch>
        </Suspense>
      </div>
    </Show>
  );
}
