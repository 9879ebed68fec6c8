// Who is here. What proves it lies in a cookie that no script can read, this one included.

import { createSignal } from "solid-js";
import { Role } from "./gen/carrel/v1/role_pb";
import { type User } from "./gen/carrel/v1/user_pb";
import { ask, change } from "./rpc/link";
import { auth, keepToken } from "./rpc/clients";
import { isSessionOver } from "./rpc/refusal";

/** Undefined: not known yet; null: nobody. */
const [user, setUser] = createSignal<User | null | undefined>(undefined);
const [unread, setUnread] = createSignal(0);
export { unread, setUnread, user };

export const userId = () => user()?.name.replace("users/", "") ?? "";
export const isStaff = () => [Role.LIBRARIAN, Role.ADMIN].includes(user()?.role ?? Role.UNSPECIFIED);
export const isAdmin = () => user()?.role === Role.ADMIN;
/** Sees how the library is used and what was changed, and changes nothing. */
export const isAuditor = () => user()?.role === Role.AUDITOR;
export const isKiosk = () => user()?.role === Role.KIOSK;

export async function restore() {
  try {
    const session = await ask(() => auth.getSession({}));
    setUnread(session.unreadCount);
    setUser(session.user ?? null);
  } catch {
    setUser(null);
  }
}

export async function logIn(userId: string, password: string) {
  const answer = await ask(() => auth.login({ userId, password }));
  keepToken(answer.sessionToken);
  setUnread(answer.unreadCount);
  setUser(answer.user ?? null);
}

export async function register(userId: string, password: string) {
  await change((requestId) => auth.register({ requestId, userId, password }));
  await logIn(userId, password);
}

export async function logOut() {
  try {
    await change((requestId) => auth.logout({ requestId }));
  } finally {
    forget();
  }
}

export function forget() {
  keepToken("");
  setUser(null);
  setUnread(0);
}

/** Of a call that failed: true if that was because the session is over, which is then known. */
export function noteSessionOver(error: unknown): boolean {
  const over = isSessionOver(error);
  if (over) forget();
  return over;
}

/** The dialog that asks for name and password, with what to do once somebody is here. */
const [loginFor, setLoginFor] = createSignal<(() => void) | null>(null);
export { loginFor };

export function withUser(then: () => void) {
  if (user()) then();
  else setLoginFor(() => then);
}

export function endLogin() {
  setLoginFor(null);
}
