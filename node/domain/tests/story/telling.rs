//! What is told of an answer, of everything else that happened, and of what somebody reads.

use carrel_domain::account::Role;
use carrel_domain::claim::{Claim, ClaimState};
use carrel_domain::event::{Actor, Change, Event, Reason, UserRow};
use carrel_domain::explain::{Alternative, Explanation};
use carrel_domain::id::{ClaimId, Position, UserId, WaitId};
use carrel_domain::inbox::Stream;
use carrel_domain::query::{ClaimView, ItemSubject, ItemView};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Applied, ClosureSummary, Reply};
use carrel_domain::request::Action;
use carrel_domain::text::UserName;
use carrel_domain::waitlist::WaitState;

use crate::library::{BERLIN, LONDON, Zone};

use crate::story::Story;
use crate::story::names::{claim_id, claim_label, name, seat_name, words_of, zone_of};

impl Story {
    pub fn answer(&mut self, action: &Action, applied: &Applied) -> String {
        let text = match &applied.reply.result {
            Err(refusal) => format!("refused: {}", self.refusal(*refusal)),
            Ok(reply) => match reply {
                Reply::Done => match action {
                    Action::Tick => String::new(),
                    _ => "done".to_owned(),
                },
                Reply::User(user) => match &user.role {
                    Role::Patron => format!("{} is a patron", user.name),
                    role => format!("{} is {role:?}", user.name),
                },
                Reply::Session { unread_count, .. } => format!("welcome, {unread_count} unread"),
                Reply::Catalog(summary) => {
                    format!("{} seats, {} displaced", summary.seat_count, summary.displaced_count)
                }
                Reply::Claim(view) => self.claim(view, action),
                Reply::Wait(view) => {
                    let label = self.wait_label(view.wait.id);
                    match view.wait.state {
                        WaitState::Waiting | WaitState::Offered { .. } => format!("waiting {label}"),
                        WaitState::Fulfilled { .. } => format!("fulfilled {label}"),
                        WaitState::Left => format!("left {label}"),
                        WaitState::Expired => format!("expired {label}"),
                    }
                }
                Reply::Message(message) => {
                    if !self.messages.contains(&message.position) {
                        self.messages.push(message.position);
                    }
                    format!("sent {}", self.message_label(message.position))
                }
                Reply::Unread { count } => format!("{count} unread"),
                Reply::Claims(outcomes) => {
                    let told = outcomes.iter().map(|outcome| match outcome {
                        Ok(view) => self.claim(view, action),
                        Err(refusal) => format!("refused: {}", self.refusal(*refusal)),
                    });
                    told.collect::<Vec<_>>().join(" | ")
                }
                Reply::Closure(ClosureSummary { seat_count, moved_count, displaced_count }) => {
                    format!("{seat_count} seats, {moved_count} moved, {displaced_count} displaced")
                }
            },
        };
        if applied.reply.replayed { format!("{text} (as before)") } else { text }
    }

    pub fn claim(&self, view: &ClaimView, action: &Action) -> String {
        let claim = &view.claim;
        let label = claim_label(claim.id);
        match (claim.state, action) {
            (
                ClaimState::Confirmed { deadline },
                Action::Reserve { .. } | Action::ReserveGroup { .. } | Action::ReserveMany { .. },
            ) => {
                format!("reserved {label}, check in by {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::Confirmed { deadline }, Action::Reschedule { .. } | Action::Extend { .. }) => {
                let (start, end) = (claim.interval.start(), claim.interval.end());
                let (start, end) = (self.clock(zone_of(view), start), self.clock(zone_of(view), end));
                let by = self.clock(zone_of(view), deadline);
                format!("{label} is now {} {start}-{end}, check in by {by}", view.seat.seat)
            }
            (ClaimState::Away { deadline, .. }, _) => {
                format!("away from {label} until {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::Confirmed { deadline }, _) => {
                format!("confirmed {label}, check in by {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::Held { deadline }, _) => {
                format!("held {label} until {}", self.clock(zone_of(view), deadline))
            }
            (ClaimState::CheckedIn, _) => {
                format!("checked in {label} until {}", self.clock(zone_of(view), claim.interval.end()))
            }
            (state, _) => format!("{} {label}", words_of(&format!("{:?}", state.name()))),
        }
    }

    /// Everything but what the answer says already.
    pub fn happened(&mut self, applied: &Applied, reply: Option<&Reply>) -> String {
        let mut told = Vec::new();
        for event in &applied.events {
            match &event.change {
                Change::Claim { before, after } => {
                    let is_answer = match reply {
                        Some(Reply::Claim(view)) => view.claim.id == after.id,
                        Some(Reply::Claims(views)) => views.iter().flatten().any(|view| view.claim.id == after.id),
                        _ => false,
                    };
                    if !is_answer {
                        told.push(self.claim_changed(before.as_ref(), after));
                    }
                }
                Change::Wait { after: wait, .. } => {
                    let label = self.wait_label(wait.id);
                    let is_answer = matches!(reply, Some(Reply::Wait(view)) if view.wait.id == wait.id);
                    match wait.state {
                        _ if is_answer => {}
                        WaitState::Waiting => told.push(format!("{label} waits on")),
                        WaitState::Left => told.push(format!("{label} left")),
                        WaitState::Expired => told.push(format!("{label} expired")),
                        WaitState::Offered { .. } | WaitState::Fulfilled { .. } => {}
                    }
                }
                Change::Strike { user, before: None, .. } => told.push(format!("strike for {}", self.names[user])),
                Change::Strike { user, .. } => told.push(format!("strike of {} waived", self.names[user])),
                Change::User { before, after } => told.extend(self.user_changed(before.as_ref(), after)),
                Change::UserDeleted { user } => told.push(format!("{} is gone", self.names[user])),
                Change::ItemAppended { stream, position } => told.extend(self.item_appended(*stream, *position)),
                Change::ItemRemoved { stream: Stream::User(user), position } => {
                    if self.messages.contains(position) && self.state.read_up_to(*user) != Position::default() {
                        told.push(format!("{} loses {}", self.names[user], self.message_label(*position)));
                    }
                }
                Change::ItemRemoved { .. }
                | Change::ReadUpTo { .. }
                | Change::CatalogReplaced { .. }
                | Change::CalendarFilled { .. }
                | Change::PresenceKeySet { .. }
                | Change::Block { .. }
                | Change::ReachChanged { .. }
                | Change::ClaimsLetGo { .. }
                | Change::PseudonymKeySet
                | Change::Webhook { .. } => {}
            }
        }
        told.join(", ")
    }

    pub fn claim_changed(&self, before: Option<&Claim>, claim: &Claim) -> String {
        let label = claim_label(claim.id);
        let seat = self.state.catalog().seat(claim.seat);
        let zone = Zone::named(self.state.catalog().branch(seat.branch).time_zone.as_str());
        if before.is_some_and(|before| (before.seat, before.interval) != (claim.seat, claim.interval)) {
            return format!("{label} moved to {}", seat.label);
        }
        match claim.state {
            ClaimState::Confirmed { .. } if before.is_none() => format!("{} closed as {label}", seat.label),
            ClaimState::Held { deadline } if before.is_none() => {
                let holder = claim.holder.map_or("nobody", |holder| self.names[&holder].as_str());
                let (start, end) = (claim.interval.start(), claim.interval.end());
                let (start, end) = (self.clock(zone, start), self.clock(zone, end));
                let until = self.clock(zone, deadline);
                format!("offered {} {start}-{end} to {holder} as {label} until {until}", seat.label)
            }
            ClaimState::Away { deadline, reported_by: Some(_) } => {
                format!("{label} is to be back by {}", self.clock(zone, deadline))
            }
            ClaimState::Held { deadline } | ClaimState::Confirmed { deadline } | ClaimState::Away { deadline, .. } => {
                format!("{label} now has until {}", self.clock(zone, deadline))
            }
            state => format!("{} {label}", words_of(&format!("{:?}", state.name()))),
        }
    }

    pub fn user_changed(&mut self, before: Option<&UserRow>, after: &UserRow) -> Option<String> {
        self.names.insert(after.id, after.name.to_string());
        match (before.and_then(|before| before.suspended_until), after.suspended_until) {
            (before, Some(until)) if before != Some(until) => {
                Some(format!("{} suspended until {}", after.name, self.clock(BERLIN, until)))
            }
            (Some(_), None) => Some(format!("{} may book again", after.name)),
            _ => None,
        }
    }

    pub fn item_appended(&mut self, stream: Stream, position: Position) -> Option<String> {
        let user = match stream {
            Stream::User(user) => user,
            Stream::Everyone => return Some("told everyone".to_owned()),
            Stream::Branch(branch) => return Some(format!("told {}", self.state.catalog().branch(branch).slug)),
            Stream::Role(role) => return Some(format!("told every {role:?}").to_lowercase()),
        };
        let view = self.item(user, position)?;
        let what = match view.subject {
            ItemSubject::Message { .. } => "a message".to_owned(),
            // The suspension itself is told beside it.
            ItemSubject::Suspended { .. } => "suspension".to_owned(),
            other => self.subject(&other),
        };
        Some(format!("told {} ({what})", self.names[&user]))
    }

    pub fn item(&self, user: UserId, position: Position) -> Option<ItemView> {
        self.state.inbox(user, Position::default(), 5000).items.into_iter().find(|item| item.position == position)
    }

    pub fn subject(&self, subject: &ItemSubject) -> String {
        let by = |sender: &Option<UserName>| sender.as_ref().map_or("somebody gone".to_owned(), ToString::to_string);
        match subject {
            ItemSubject::Message { sender, text } => format!("{}: {text}", by(sender)),
            ItemSubject::Announcement { sender, text } => format!("{} to all: {text}", by(sender)),
            ItemSubject::OfferMade { claim } => format!("offer {}", claim_label(*claim)),
            ItemSubject::OfferExpired { claim } => format!("missed {}", claim_label(*claim)),
            ItemSubject::NoShow { claim } => format!("no show {}", claim_label(*claim)),
            ItemSubject::Displaced { claim } => format!("displaced {}", claim_label(*claim)),
            ItemSubject::CancelledByStaff { claim } => format!("cancelled by staff {}", claim_label(*claim)),
            ItemSubject::Suspended { until } => format!("suspended until {}", self.clock(BERLIN, *until)),
            ItemSubject::HoldExpired { claim } => format!("hold of {} over", claim_label(*claim)),
            ItemSubject::Released { claim } => format!("released {}", claim_label(*claim)),
            ItemSubject::Moved { claim } => format!("moved {}", claim_label(*claim)),
            ItemSubject::BookedForYou { claim } => format!("{} is yours", claim_label(*claim)),
            ItemSubject::SeatReported { claim, until } => {
                format!("{} reported empty, show up by {}", claim_label(*claim), self.clock(BERLIN, *until))
            }
            ItemSubject::CancelledLate { claim } => format!("{} cancelled late", claim_label(*claim)),
            ItemSubject::StrikeWaived { claim } => format!("strike for {} waived", claim_label(*claim)),
            ItemSubject::Unsent { message } => format!("{} was taken back", self.message_label(*message)),
            ItemSubject::Reported { reporter, sender, text, reason } => {
                format!("{} reports {}: {text} ({reason})", by(reporter), by(sender))
            }
            ItemSubject::WaitExpired { wait } => {
                let place = self.waits.iter().position(|other| other == wait).expect("a wait that was told of");
                format!("waited in vain w{}", place + 1)
            }
        }
    }

    pub fn read(&self, words: &[&str]) -> String {
        let user = self.user(words[0]);
        match words[1..] {
            ["looks", "at", "inbox"] => {
                let items = self.state.inbox(user, Position::default(), 100).items;
                let mark = |item: &ItemView| if item.is_unread { "*" } else { "" };
                let items: Vec<_> =
                    items.iter().map(|item| format!("{}{}", mark(item), self.subject(&item.subject))).collect();
                if items.is_empty() { "nothing".to_owned() } else { items.join(" | ") }
            }
            ["looks", "at", wait] if wait.starts_with('w') => match self.state.place_in_line(self.wait_id(wait)) {
                Some(places) => format!("{wait} is number {} to {}", places.start(), places.end()),
                None => format!("{wait} is not in line"),
            },
            ["asks", "what", "became", "of", claim] => self.account_of(claim_id(claim)),
            ["asks", "about", place, ref when @ ..] => match self.wish(place, when) {
                Err(problem) => format!("no: {problem}"),
                Ok(wish) => match self.state.explain(user, &wish) {
                    Ok(explanation) => self.explanation(&explanation),
                    Err(refusal) => format!("refused: {}", self.refusal(refusal)),
                },
            },
            ["looks", "at", claim] => match self.state.reservation(user, claim_id(claim)) {
                Ok(view) => self.claim(&view, &Action::Tick),
                Err(refusal) => format!("refused: {}", self.refusal(refusal)),
            },
            ["lists", "messages"] => {
                let messages = self.state.messages(user, None, Position::default(), 100).items;
                let texts: Vec<_> = messages
                    .iter()
                    .map(|message| {
                        let sender = message.sender.as_ref().map_or("somebody gone", |sender| sender.as_str());
                        format!("{sender}: {}", message.text)
                    })
                    .collect();
                if texts.is_empty() { "nothing".to_owned() } else { texts.join(" | ") }
            }
            ["lists", "conversations"] => {
                let told = self.state.conversations(user).into_iter().map(|conversation| {
                    let others: Vec<_> = conversation
                        .others
                        .iter()
                        .map(|other| other.as_ref().map_or("somebody gone", |other| other.as_str()))
                        .collect();
                    let (others, text) = (others.join(","), conversation.last.text);
                    format!("with {others}: {text} ({} unread)", conversation.unread_count)
                });
                let told: Vec<_> = told.collect();
                if told.is_empty() { "nothing".to_owned() } else { told.join(" | ") }
            }
            ["lists", "blocks"] => {
                let names: Vec<_> = self.state.blocks(user).iter().map(ToString::to_string).collect();
                if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
            }
            ["lists", "claims", "on", seat] => match self.state.claims_on(user, &seat_name(seat)) {
                Ok(claims) => {
                    let told = claims.iter().map(|view| {
                        let holder = view.holder.as_ref().map_or("the library", |holder| holder.as_str());
                        format!(
                            "{} {} of {holder}",
                            words_of(&format!("{:?}", view.claim.state.name())),
                            claim_label(view.claim.id)
                        )
                    });
                    told.collect::<Vec<_>>().join(" | ")
                }
                Err(refusal) => format!("refused: {}", self.refusal(refusal)),
            },
            ["lists", "strikes", "of", person] => match self.state.strikes(user, &name(person)) {
                Ok(strikes) => {
                    let told = strikes.iter().map(|strike| {
                        let waived = if strike.waived { ", waived" } else { "" };
                        format!("{} {}{waived}", words_of(&format!("{:?}", strike.cause)), claim_label(strike.claim))
                    });
                    told.collect::<Vec<_>>().join(" | ")
                }
                Err(refusal) => format!("refused: {}", self.refusal(refusal)),
            },
            ["lists", "reservations"] => {
                let page = self.state.reservations(user, |_| true, None, 100);
                let texts: Vec<_> = page.items.iter().map(|view| self.claim(view, &Action::Tick)).collect();
                texts.join(" | ")
            }
            ["lists", "waits"] => {
                let page = self.state.waits(user, None, 100);
                let label = |id| self.waits.iter().position(|other| *other == id).map_or(0, |index| index + 1);
                let texts: Vec<_> = page
                    .items
                    .iter()
                    .map(|view| format!("w{} {}", label(view.wait.id), state_word(view.wait.state)))
                    .collect();
                texts.join(" | ")
            }
            ["looks", "at", claim, ..] => format!("nobody looks at {claim}"),
            _ => panic!("nobody knows how to '{}'", words.join(" ")),
        }
    }

    /// What the audit knows of a claim: when it became what, by whom and why.
    pub fn account_of(&self, id: ClaimId) -> String {
        let told = self.history.iter().filter_map(|(time, Event { cause, change })| {
            let Change::Claim { after, .. } = change else { return None };
            let actor = match cause.actor {
                Actor::User(user) => self.names.get(&user).map_or("somebody gone", |name| name.as_str()),
                Actor::Time => "itself",
                Actor::System => "the cluster",
                Actor::Anonymous => "a stranger",
            };
            let reason = match cause.reason {
                Reason::Asked(name) => words_of(&format!("{name:?}")),
                Reason::TimePassed => "time passed".to_owned(),
                Reason::OutageCredited => "an outage was credited".to_owned(),
            };
            let note = cause.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            let state = words_of(&format!("{:?}", after.state.name()));
            let at = self.clock(BERLIN, *time);
            (after.id == id).then(|| format!("{at} {state} by {actor} ({reason}{note})"))
        });
        told.collect::<Vec<_>>().join(", ")
    }

    pub fn explanation(&self, explanation: &Explanation) -> String {
        if explanation.failing.is_empty() {
            return "possible".to_owned();
        }
        let failing: Vec<_> = explanation.failing.iter().map(|&refusal| self.refusal(refusal)).collect();
        let instead = explanation.alternatives.iter().map(|Alternative { seat, interval, .. }| {
            let zone = if seat.branch.as_str() == "annex" { LONDON } else { BERLIN };
            format!("{} {}-{}", seat.label, self.clock(zone, interval.start()), self.clock(zone, interval.end()))
        });
        let instead: Vec<_> = instead.collect();
        let instead = if instead.is_empty() { "nothing".to_owned() } else { instead.join(" or ") };
        format!("{}; instead {instead}", failing.join(" and "))
    }

    pub fn refusal(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::TooSoon { notice_minutes } => format!("later than {notice_minutes} minutes before"),
            Refusal::TooManyMinutesInWeek { max_per_week, left } => {
                format!("{left} of {max_per_week} minutes left that week")
            }
            Refusal::TooManyOnDay { max } => format!("no more than {max} that day"),
            Refusal::TooManyInWeek { max } => format!("no more than {max} that week"),
            Refusal::TooManyFuture { max } => format!("no more than {max} to come"),
            Refusal::HoldExists { claim } => format!("holds {} already", claim_label(claim)),
            Refusal::KeptAccessible { until } => {
                format!("kept for who needs it until {}", self.clock(BERLIN, until))
            }
            Refusal::MemberUnavailable { position } => format!("member {} cannot", position + 1),
            Refusal::GroupSeatTaken { position } => format!("seat {} is taken", position + 1),
            Refusal::TooManyAtOnce { max } => format!("no more than {max} at once"),
            Refusal::TooLateToChange { minutes } => format!("too late, {minutes} minutes before is the latest"),
            Refusal::TooManyReports { max } => format!("{max} reports were wrong"),
            Refusal::TooFlexible { max_starts } => format!("no more than {max_starts} starts"),
            Refusal::SuspensionInvalid { max_days } => format!("at most {max_days} days"),
            Refusal::InThePast { earliest } => {
                format!("in the past, {} is the earliest", self.clock(BERLIN, earliest))
            }
            Refusal::TooFarAhead { window_days } => format!("more than {window_days} days ahead"),
            Refusal::OffGrid { grid_minutes } => format!("not on the grid of {grid_minutes} minutes"),
            Refusal::TooShort { min_minutes } => format!("shorter than {min_minutes} minutes"),
            Refusal::TooLong { max_minutes } => format!("longer than {max_minutes} minutes"),
            Refusal::Suspended { until } => format!("suspended until {}", self.clock(BERLIN, until)),
            Refusal::OwnOverlap { claim } => format!("overlaps own {}", claim_label(claim)),
            Refusal::TooManyReservations { max } => format!("no more than {max} reservations"),
            Refusal::TooManyMinutes { max_per_day, left } => format!("{left} of {max_per_day} minutes left that day"),
            Refusal::StateConflict { state } => format!("it is {}", words_of(&format!("{state:?}"))),
            Refusal::CheckInTooEarly { opens_at } => format!("check-in opens at {}", self.clock(BERLIN, opens_at)),
            Refusal::TooManyWaits { max } => format!("no more than {max} waits"),
            Refusal::RecipientNotFound { position } => format!("no such recipient (number {})", position + 1),
            other => words_of(&format!("{other:?}")),
        }
    }

    pub fn wait_label(&mut self, id: WaitId) -> String {
        let place = self.waits.iter().position(|other| *other == id).unwrap_or_else(|| {
            self.waits.push(id);
            self.waits.len() - 1
        });
        format!("w{}", place + 1)
    }

    pub fn message_label(&self, position: Position) -> String {
        self.messages.iter().position(|other| *other == position).map_or("m?".to_owned(), |i| format!("m{}", i + 1))
    }
}

pub fn state_word(state: WaitState) -> &'static str {
    match state {
        WaitState::Waiting => "waiting",
        WaitState::Offered { .. } => "offered",
        WaitState::Fulfilled { .. } => "fulfilled",
        WaitState::Left => "left",
        WaitState::Expired => "expired",
    }
}
