// Around every view: where one can go, who is here, and whether the page reaches the cluster.

import { createEffect, createSignal, For, type JSX, lazy, Match, onMount, Show, Suspense, Switch } from "solid-js";
import { keepMineFresh } from "../day/mine";
import { keepInboxLive } from "../post/live";
import { isReconnecting } from "../rpc/link";
import { go, route } from "../route";
import { isAuditor, isKiosk, isStaff, logOut, restore, unread, user, userId, withUser } from "../session";
import Seats from "../seats/Seats";
import { LANGUAGES, type Language, language, speak, t } from "../words";
import { Announcer } from "./announce";
import { Icon } from "./Icon";
import { Login } from "./Login";

const MyDay = lazy(() => import("../day/MyDay"));
const Inbox = lazy(() => import("../post/Inbox"));
const Messages = lazy(() => import("../post/Messages"));
const Staff = lazy(() => import("../staff/Staff"));
const Account = lazy(() => import("../account/Account"));
const Kiosk = lazy(() => import("../kiosk/Kiosk"));
const Cluster = lazy(() => import("../cluster/Cluster"));

export function Link(props: { to: string; class?: string; children: JSX.Element; current?: boolean }) {
  return (
    <a
      href={props.to}
      class={props.class}
      aria-current={props.current ? "page" : undefined}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        go(props.to);
      }}
    >
      {props.children}
    </a>
  );
}

export function Shell() {
  const view = () => route()[0] ?? "seats";
  onMount(() => void restore());
  keepMineFresh();
  keepInboxLive();
  createEffect(() => {
    document.title = `${t().views[view()] ?? t().notHere} · Carrel`;
  });
  createEffect(() => {
    if (isKiosk() && view() === "seats") go("/kiosk", "replace");
  });
  const tabs = () =>
    [
      { to: "seats", icon: "seat" },
      { to: "day", icon: "day" },
      { to: "inbox", icon: "inbox" },
      { to: "messages", icon: "letters" },
      ...(isStaff() || isAuditor() ? [{ to: "staff", icon: "staff" } as const] : []),
    ] as const;

  return (
    <>
      <a class="skip" href="#main">
        {t().skip}
      </a>
      <header class="top">
        <Link to="/seats" class="brand">
          <svg viewBox="0 0 24 24" aria-hidden="true">
            <path d="M5 4v9h14V4M3.500 13h17v3.500h-17zM6.500 16.500V21M17.500 16.500V21" />
          </svg>
          Carrel
        </Link>
        <nav class="tabs" aria-label={t().navigation}>
          <For each={tabs()}>
            {(tab) => (
              <Link to={`/${tab.to}`} current={view() === tab.to}>
                <Icon name={tab.icon} />
                <span>{t().views[tab.to]}</span>
                <Show when={tab.to === "inbox" && unread() > 0}>
                  <b class="unread">
                    {unread()}
                    <span class="sr"> {t().unread}</span>
                  </b>
                </Show>
              </Link>
            )}
          </For>
        </nav>
        <div class="who">
          <Show when={isReconnecting()}>
            <span class="link" role="status" data-link="reconnecting">
              <span class="spinner" aria-hidden="true" />
              <span>{t().reconnecting}</span>
            </span>
          </Show>
          <Show
            when={user()}
            fallback={
              <Show when={user() === null}>
                <button type="button" class="small primary" onClick={() => withUser(() => undefined)}>
                  {t().logIn}
                </button>
              </Show>
            }
          >
            <Whoever />
          </Show>
        </div>
      </header>
      <main id="main" tabindex="-1">
        <Suspense fallback={<div class="waiting page" aria-hidden="true" />}>
          <Switch fallback={<p class="empty">{t().notHere}</p>}>
            <Match when={view() === "seats"}>
              <Seats />
            </Match>
            <Match when={view() === "day"}>
              <Personal>
                <MyDay />
              </Personal>
            </Match>
            <Match when={view() === "inbox"}>
              <Personal>
                <Inbox />
              </Personal>
            </Match>
            <Match when={view() === "messages"}>
              <Personal>
                <Messages />
              </Personal>
            </Match>
            <Match when={view() === "staff"}>
              <Personal>
                <Staff />
              </Personal>
            </Match>
            <Match when={view() === "account"}>
              <Personal>
                <Account />
              </Personal>
            </Match>
            <Match when={view() === "kiosk"}>
              <Kiosk />
            </Match>
            <Match when={view() === "cluster"}>
              <Cluster />
            </Match>
          </Switch>
        </Suspense>
      </main>
      <footer class="foot">
        <Link to="/cluster" current={view() === "cluster"}>
          <Icon name="cluster" /> {t().views.cluster}
        </Link>
        <label>
          <span class="sr">{t().language}</span>
          <select value={language()} onChange={(e) => void speak(e.target.value as Language)}>
            <For each={Object.entries(LANGUAGES)}>
              {([code, name]) => (
                <option value={code} lang={code} selected={code === language()}>
                  {name}
                </option>
              )}
            </For>
          </select>
        </label>
        <button type="button" class="quiet-button" onClick={turnLight}>
          <Icon name="light" /> {t().lightOrDark}
        </button>
      </footer>
      <Login />
      <Announcer />
    </>
  );
}

/** A view that is somebody's: whoever is nobody yet is asked who they are. */
function Personal(props: { children: JSX.Element }) {
  return (
    <Show
      when={user()}
      fallback={
        <Show when={user() === null} fallback={<div class="waiting page" aria-hidden="true" />}>
          <div class="empty">
            <h1>{t().logInFirst}</h1>
            <button type="button" class="primary" onClick={() => withUser(() => undefined)}>
              {t().logIn}
            </button>
          </div>
        </Show>
      }
    >
      {props.children}
    </Show>
  );
}

function Whoever() {
  const [isOpen, setOpen] = createSignal(false);
  return (
    <div class="account">
      <button type="button" class="small plain" aria-expanded={isOpen()} onClick={() => setOpen(!isOpen())}>
        <Icon name="account" /> <span>{userId()}</span>
      </button>
      <Show when={isOpen()}>
        <div class="menu">
          <button
            type="button"
            class="plain"
            onClick={() => {
              setOpen(false);
              go("/account");
            }}
          >
            {t().views.account}
          </button>
          <button
            type="button"
            class="plain"
            onClick={() => {
              setOpen(false);
              void logOut();
            }}
          >
            {t().logOut}
          </button>
        </div>
      </Show>
    </div>
  );
}

export function lightAsBefore() {
  const chosen = localStorage.getItem("light");
  if (chosen) document.documentElement.dataset.light = chosen;
}

function turnLight() {
  const root = document.documentElement;
  const isDark = root.dataset.light
    ? root.dataset.light === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.light = isDark ? "light" : "dark";
  localStorage.setItem("light", root.dataset.light);
}
