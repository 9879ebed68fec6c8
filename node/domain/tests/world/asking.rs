//! What a step means, here and now: which claim, which slot.

use carrel_domain::account::{Role, RoleName};
use carrel_domain::catalog::Draft;
use carrel_domain::claim::Claim;
use carrel_domain::history::PseudonymSecret;
use carrel_domain::id::{ClaimId, Position, SeatId, TokenDigest, WaitId, WebhookId};
use carrel_domain::mail::{MailCode, MailWishes};
use carrel_domain::presence::{self, PresenceSecret, Proof};
use carrel_domain::request::{Action, Audience, Behalf, Caller, Closing, GroupSeat, Need, Request, Wish};
use carrel_domain::text::{MailAddress, WebhookUrl};
use carrel_domain::time::{DAY_US, Interval, MINUTE_US, SECOND_US, Timestamp};
use carrel_domain::webhook::{WebhookMark, WebhookSecret};

use crate::library::{self, slug, title};

use crate::world::steps::{Act, Slot, Step};
use crate::world::{World, anonymous, name, password, place, seat_name, text, wish};

impl World {
    pub fn request(&mut self, step: &Step) -> Option<Request> {
        let user = self.state.find_user(&name(step.by.0));
        let claim = |back: u64| {
            // Mostly about what is still going on.
            let wanted = |claim: &Claim| back > 1 || claim.state.is_blocking();
            let own = user.map(|user| self.state.reservations(user, wanted, None, 5).items).unwrap_or_default();
            own.get(back as usize).map_or(ClaimId(back), |view| view.claim.id)
        };
        let wait = |back: u64| {
            let own = user.map(|user| self.state.waits(user, None, 100).items).unwrap_or_default();
            own.iter().rev().nth(back as usize).map_or(WaitId(back), |view| view.wait.id)
        };
        let action = match &step.act {
            Act::Tick => return Some(Request::system(Action::Tick)),
            Act::Projected(back) => {
                let through = self.state.at().index.saturating_sub(*back);
                return Some(Request::system(Action::Projected { through }));
            }
            Act::LetGo(minutes, back) => {
                let recorded = self.state.at().index.saturating_sub(*back);
                // Everything: what may not go stays.
                let claims = (0..=self.state.next_claim().0).map(ClaimId).collect();
                let before = self.now().plus_us(-minutes * MINUTE_US);
                return Some(Request::system(Action::LetGo { recorded, before, claims }));
            }
            Act::DrawPseudonyms(byte) => {
                let secret = PseudonymSecret([*byte; 32]);
                return Some(Request::system(Action::SetPseudonymKey { secret }));
            }
            Act::Register(who) => {
                let action = Action::Register { name: name(*who), password: password() };
                return Some(Request { retry: self.retry(&step.retry, &action), ..anonymous(action) });
            }
            Act::Again(back) => {
                let place = self.requests.len().checked_sub(back + 1)?;
                return Some(self.requests[place].clone());
            }
            Act::LogIn => return Some(self.log_in(step.by.0, step.by.1)),
            Act::LogOut => Action::EndSession,
            Act::DeleteUser(who) => Action::DeleteUser { name: name(*who) },
            Act::SetRole(who, role) => {
                let role = match role {
                    0 => Role::Librarian(vec![slug("main")]),
                    1 => Role::Librarian(vec![slug("annex"), slug("main"), slug("annex")]),
                    2 => Role::Admin,
                    3 => Role::Auditor,
                    4 => Role::Kiosk,
                    _ => Role::Patron,
                };
                Action::SetRole { name: name(*who), role }
            }
            Act::Import(change) => {
                Action::ImportCatalog { draft: Box::new(changed_draft(*change)), expected_revision: None }
            }
            Act::Reserve(seat, slot, behalf) => {
                let behalf = behalf.map(|(who, exempt)| Behalf { person: name(who), reason: title("asked"), exempt });
                Action::Reserve { wish: Wish { behalf, ..Wish::of_seat(seat_name(*seat), self.interval(slot)?) } }
            }
            Act::Hold(place, slot) => Action::Hold { wish: wish(*place, self.interval(slot)?) },
            Act::Confirm(back) => Action::Confirm { claim: claim(*back) },
            Act::WalkIn(seat, halves, person, code) => Action::WalkIn {
                seat: seat_name(*seat),
                end: self.ending(self.now(), *halves),
                person: person.map(name),
                proof: self.proof(SeatId(*seat as u32), *code),
            },
            Act::StepAway(back) => Action::StepAway { claim: claim(*back) },
            Act::Extend(back, halves) => {
                let claim = claim(*back);
                let end = user.and_then(|user| self.state.reservation(user, claim).ok());
                let end = end.map_or(self.now(), |view| view.claim.interval.end());
                Action::Extend { claim, end: end.plus_us(halves * 30 * MINUTE_US) }
            }
            Act::Reschedule(back, seat, slot) => {
                let interval = self.interval(slot)?;
                Action::Reschedule { claim: claim(*back), seat: seat_name(*seat), interval }
            }
            Act::Group(seats, slot) => {
                let member = |&(seat, who): &(usize, usize)| GroupSeat { seat: seat_name(seat), person: name(who) };
                Action::ReserveGroup { seats: seats.iter().map(member).collect(), interval: self.interval(slot)? }
            }
            Act::Many(wishes) => {
                let wishes = wishes.iter().map(|(place, slot)| Some(wish(*place, self.interval(slot)?)));
                Action::ReserveMany { wishes: wishes.collect::<Option<_>>()? }
            }
            Act::Report(seat) => Action::ReportEmptySeat { seat: seat_name(*seat) },
            Act::Close(at, slot) => {
                let closing = if at % 2 == 0 { Closing::Maintenance } else { Closing::Closure };
                let interval = self.interval(slot)?;
                Action::CloseSeats { place: place(*at), interval, closing, reason: title("paint") }
            }
            Act::Reopen(at, slot) => {
                Action::ReopenSeats { place: place(*at), interval: self.interval(slot)?, reason: title("dry") }
            }
            Act::Suspend(who, days) => {
                let until = self.now().plus_us(days * DAY_US / 4);
                Action::Suspend { name: name(*who), until, reason: title("loud") }
            }
            Act::Unsuspend(who) => Action::Unsuspend { name: name(*who), reason: title("sorry") },
            Act::Waive(who, back) => {
                let struck = self.state.find_user(&name(*who)).and_then(|user| self.state.export(user).ok());
                let strikes = struck.map(|export| export.strikes).unwrap_or_default();
                let claim = strikes.iter().rev().nth(*back as usize).map_or(ClaimId(*back), |strike| strike.claim);
                Action::WaiveStrike { name: name(*who), claim, reason: title("ill") }
            }
            Act::Accessibility(who, needs_accessible) => {
                Action::SetAccessibility { name: name(*who), needs_accessible: *needs_accessible }
            }
            Act::DrawKey(byte) => Action::SetPresenceKey { secret: PresenceSecret([*byte; 32]) },
            Act::CheckIn(back, code) => {
                let claim = claim(*back);
                let seat = user.and_then(|user| self.state.reservation(user, claim).ok());
                let proof = seat.and_then(|view| self.proof(view.claim.seat, *code));
                Action::CheckIn { claim, proof }
            }
            Act::CheckOut(back) => Action::CheckOut { claim: claim(*back) },
            Act::Cancel(back) => Action::Cancel { claim: claim(*back), reason: None },
            Act::Join(at, picky, slot, halves) => {
                let amenities = if *picky { vec![title("power"), title("power")] } else { Vec::new() };
                let need = Need { place: place(*at), amenities, accessible: false };
                Action::JoinWaitlist { need, interval: self.interval(slot)?, minutes: halves.map(|halves| halves * 30) }
            }
            Act::Leave(back) => Action::LeaveWaitlist { wait: wait(*back) },
            Act::Accept(back) => Action::AcceptOffer { claim: claim(*back) },
            Act::Decline(back) => Action::DeclineOffer { claim: claim(*back) },
            Act::Send(to) => {
                Action::SendMessage { recipients: to.iter().map(|&who| name(who)).collect(), text: text() }
            }
            Act::Broadcast => Action::Broadcast { text: text() },
            Act::DeleteMessage(back) => {
                let place = self.sent.len().checked_sub(back + 1);
                Action::DeleteMessage { message: place.map(|place| self.sent[place]).unwrap_or_default() }
            }
            Act::Read(back) => {
                let index = (self.log.len() as u64).wrapping_sub(*back);
                Action::AdvanceReadCursor { up_to: Position { index, ordinal: u32::MAX } }
            }
            Act::Block(who) => Action::Block { name: name(*who) },
            Act::Unblock(who) => Action::Unblock { name: name(*who) },
            Act::ReportMessage(back) => {
                let place = self.sent.len().checked_sub(back + 1);
                let message = place.map(|place| self.sent[place]).unwrap_or_default();
                Action::ReportMessage { message, reason: title("rude") }
            }
            Act::Announce(to) => {
                let audience = match to {
                    0 => Audience::Role(RoleName::Patron),
                    1 => Audience::Role(RoleName::Librarian),
                    2 => Audience::Branch(slug("annex")),
                    _ => Audience::Branch(slug("main")),
                };
                Action::Announce { audience, text: text() }
            }
            Act::Follow(which) => {
                let branches = [slug("main"), slug("annex")];
                Action::SetFollowed { branches: branches.into_iter().skip(usize::from(*which)).collect() }
            }
            Act::ChangePassword => Action::ChangePassword { old: password(), new: password() },
            Act::Revoke(back) => {
                let own = user.map(|user| self.state.sessions(user)).unwrap_or_default();
                let session = own.iter().rev().nth(*back).map_or(TokenDigest([0; 16]), |view| view.session);
                Action::RevokeSession { session }
            }
            Act::Mail(byte) => {
                let wishes = MailWishes { notices: byte % 2 == 0, messages: byte % 3 > 0, announcements: byte % 5 > 0 };
                let address = MailAddress::new(&format!("a{}@example.org", byte % 4)).expect("an address");
                Action::SetMail {
                    wanted: (*byte > 0).then_some((address, wishes)),
                    code: MailCode(u64::from(byte % 2)),
                }
            }
            Act::ProveMail(code) => Action::ConfirmMail { code: MailCode(u64::from(*code)) },
            Act::Sent(which, is_given_up) => {
                let due = self.state.mail_readers().filter_map(|user| Some((user, self.state.mail_due(user, None)?)));
                let mails = due.map(|(user, due)| due.mark(user, *is_given_up)).skip(*which).collect();
                let webhooks = self.state.webhooks().filter_map(|(webhook, of)| {
                    let through = self.state.webhook_event_after(of.through).ok()?.position;
                    Some(WebhookMark { webhook, through, given_up: u32::from(*is_given_up) })
                });
                return Some(Request::system(Action::Sent { mails, webhooks: webhooks.collect() }));
            }
            Act::Hook(byte) => {
                let (webhook, secret) = (WebhookId(u128::from(byte / 9)), WebhookSecret([*byte; 32]));
                let url = WebhookUrl::new("https://example.org/carrel").expect("an address");
                match byte % 3 {
                    0 => Action::RemoveWebhook { webhook },
                    1 => Action::RotateWebhookSecret { webhook, secret },
                    _ => Action::AddWebhook { webhook, url, secret },
                }
            }
            Act::Feed(byte) => Action::SetCalendarFeed { token: (*byte > 0).then_some(TokenDigest([*byte; 16])) },
        };
        let token = self.tokens[&step.by];
        let retry = self.retry(&step.retry, &action);
        Some(Request { caller: Caller::Session(token), retry, action })
    }

    /// So many half hours after the start of the running one.
    pub fn ending(&self, from: Timestamp, halves: i64) -> Timestamp {
        let half = 30 * MINUTE_US;
        Timestamp(from.0.div_euclid(half) * half + halves * half)
    }

    pub fn proof(&self, seat: SeatId, code: u8) -> Option<Proof> {
        let [shown, before] = presence::codes_at(self.now());
        let shown_at = [shown, before, before.plus_us(-SECOND_US)].get(usize::from(code)).copied()?;
        Some(Proof { seat, shown_at, key_revision: self.state.presence_key().map_or(0, |key| key.revision) })
    }

    pub fn interval(&self, slot: &Slot) -> Option<Interval> {
        let half = 30 * MINUTE_US;
        let running = self.now().0.div_euclid(half) * half;
        let (start, end) = match *slot {
            Slot::Near { start, halves } => (running + start * half, running + (start + halves) * half),
            Slot::Days { days, start, halves } => {
                let start = running.div_euclid(DAY_US) * DAY_US + days * DAY_US + start * half;
                (start, start + halves * half)
            }
            Slot::Raw(start, end) => (start, end),
        };
        Interval::new(Timestamp(start), Timestamp(end)).ok()
    }
}

/// The library, but: changed as somebody might change it.
pub fn changed_draft(change: u8) -> Draft {
    let mut draft = library::draft();
    match change {
        0 => draft.branches.truncate(1),
        1 => {
            let seat = draft.branches[0].areas[1].seats.remove(0);
            draft.branches[0].areas[0].seats.push(seat);
        }
        2 => draft.branches[0].hours = library::weekly(10 * 60, 16 * 60),
        3 => draft.branches[0].areas[0].seats.truncate(1),
        4 => {
            draft.policies[0].rules.grid_minutes = 60;
            draft.policies[0].rules.min_minutes = 60;
            draft.policies[0].rules.max_reservations = 1;
            draft.policies[0].rules.strikes_to_suspend = 1;
        }
        5 => {
            let rules = &mut draft.policies[0].rules;
            (rules.buffer_minutes, rules.accessible_minutes, rules.notice_minutes) = (10, 60, 30);
            (rules.max_future, rules.max_per_day, rules.max_per_week) = (2, 2, 3);
            rules.max_minutes_per_week = 480;
        }
        6 => {
            for policy in &mut draft.policies {
                policy.rules.proof_required = true;
                policy.rules.late_cancel_minutes = 60;
                policy.rules.release_strikes = false;
                policy.rules.strikes_to_suspend = 1;
            }
        }
        7 => {
            draft.policies[1].rules.buffer_minutes = 30;
            draft.policies[1].rules.staff_window_days = 20;
            draft.branches[0].meals.clear();
        }
        8 => {
            for policy in &mut draft.policies {
                policy.rules.max_reservations = 10;
                policy.rules.max_minutes_per_week = 300;
                policy.rules.max_per_week = 4;
                policy.rules.accessible_minutes = 600;
            }
        }
        _ => {}
    }
    draft
}
