// The services of the node that this page came from, over gRPC-web.

import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ClusterService } from "../gen/carrel/admin/v1/cluster_pb";
import { AuditService } from "../gen/carrel/v1/audit_pb";
import { AuthService } from "../gen/carrel/v1/auth_pb";
import { CalendarService } from "../gen/carrel/v1/calendar_pb";
import { CatalogService } from "../gen/carrel/v1/catalog_pb";
import { InboxService } from "../gen/carrel/v1/inbox_pb";
import { MessageService } from "../gen/carrel/v1/message_pb";
import { ReportService } from "../gen/carrel/v1/report_pb";
import { ReservationService } from "../gen/carrel/v1/reservation_pb";
import { SeatService } from "../gen/carrel/v1/seat_pb";
import { UserService } from "../gen/carrel/v1/user_pb";
import { WaitlistService } from "../gen/carrel/v1/waitlist_pb";
import { noteServersClock } from "../time";

/** One attempt; who waits longer is better served by another attempt, which may reach another node. */
const ATTEMPT_MS = 5_000;

/**
 * Set only if the node did not put the session into a cookie, as those of the release before do not: during a rollout
 * the page then keeps it until it is closed, and nowhere else.
 */
let ownToken = "";

export function keepToken(token: string) {
  ownToken = token;
}

const session: Interceptor = (next) => async (request) => {
  request.header.set("carrel-keep-session", location.protocol === "https:" ? "secure" : "plain");
  if (ownToken) request.header.set("authorization", `Bearer ${ownToken}`);
  const response = await next(request);
  noteServersClock(response.header.get("date"));
  return response;
};

const transport = createGrpcWebTransport({
  baseUrl: location.origin,
  interceptors: [session],
  defaultTimeoutMs: ATTEMPT_MS,
});

export const auth = createClient(AuthService, transport);
export const catalog = createClient(CatalogService, transport);
export const seats = createClient(SeatService, transport);
export const reservations = createClient(ReservationService, transport);
export const waitlist = createClient(WaitlistService, transport);
export const inbox = createClient(InboxService, transport);
export const messages = createClient(MessageService, transport);
export const users = createClient(UserService, transport);
export const calendars = createClient(CalendarService, transport);
export const reports = createClient(ReportService, transport);
export const audit = createClient(AuditService, transport);
export const cluster = createClient(ClusterService, transport);
