//! What the rules answer, as the wire says it.

use std::ops::RangeInclusive;

use carrel_domain::account::{Role, Strike};
use carrel_domain::claim::{Origin, StateName};
use carrel_domain::explain::Alternative;
use carrel_domain::id::{Position, TokenDigest};
use carrel_domain::mail::{AddressProof, Mail, MailWishes};
use carrel_domain::query::{
    AreaView, BranchView, ClaimView, ConversationView, Export, ItemSubject, ItemView, MessageView, SeatTimetable,
    SeatView, SessionView, UserView, WaitView,
};
use carrel_domain::quota::{Quotas, Usage};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, ClosureSummary, ImportSummary};
use carrel_domain::strike::StrikeCause;
use carrel_domain::text::{Slug, Title, UserName};
use carrel_domain::waitlist::WaitState;
use carrel_proto::v1;

use crate::convert::refusal::failing_rule;
use crate::convert::time::{to_interval, to_timestamp};
use crate::convert::token::ResumeToken;
use crate::convert::{audit, names};

/// What is said of the entry that decided an answer.
#[must_use]
pub fn commit(answer: &Answer, lineage: u32) -> v1::CommitInfo {
    v1::CommitInfo {
        resume_token: ResumeToken { lineage, position: Position::end_of(answer.at.index) }.encode(),
        commit_time: Some(to_timestamp(answer.at.time)),
        replayed: answer.replayed,
    }
}

/// Counts on the wire are signed; none of ours comes near.
#[must_use]
pub fn count(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

#[must_use]
pub fn user(view: &UserView) -> v1::User {
    let UserView { id: _, name, role, created_at, suspended_until } = view;
    let (role, branches) = match role {
        Role::Patron => (v1::Role::Patron, [].as_slice()),
        Role::Librarian(branches) => (v1::Role::Librarian, branches.as_slice()),
        Role::Admin => (v1::Role::Admin, [].as_slice()),
        Role::Auditor => (v1::Role::Auditor, [].as_slice()),
        Role::Kiosk => (v1::Role::Kiosk, [].as_slice()),
    };
    v1::User {
        name: names::user(name),
        role: role.into(),
        create_time: Some(to_timestamp(*created_at)),
        suspended_until: suspended_until.map(to_timestamp),
        branches: branches.iter().map(names::branch).collect(),
        needs_accessible: None,
    }
}

/// As somebody else sees them: a suspension is theirs and the staff's to know.
#[must_use]
pub fn user_to(viewer: &UserView, view: &UserView) -> v1::User {
    let knows = match viewer.role {
        Role::Librarian(_) | Role::Admin | Role::Auditor => true,
        Role::Patron | Role::Kiosk => viewer.id == view.id,
    };
    let told = user(view);
    if knows { told } else { v1::User { suspended_until: None, ..told } }
}

#[must_use]
pub fn seat(view: &SeatView) -> v1::Seat {
    let SeatView { id: _, branch, area, seat, label, amenities, accessible, x_cm, y_cm, available, free_until } = view;
    v1::Seat {
        name: names::seat(branch, seat),
        branch: names::branch(branch),
        area: names::area(branch, area),
        label: label.to_string(),
        amenities: titles(amenities),
        accessible: *accessible,
        available: *available,
        free_until: free_until.map(to_timestamp),
        x: metres(*x_cm),
        y: metres(*y_cm),
    }
}

#[must_use]
pub fn timetable(timetable: &SeatTimetable) -> v1::GetSeatResponse {
    let SeatTimetable { seat: view, busy, open } = timetable;
    v1::GetSeatResponse {
        seat: Some(seat(view)),
        busy: busy.iter().copied().map(to_interval).collect(),
        open: open.iter().copied().map(to_interval).collect(),
    }
}

#[must_use]
pub fn branch(view: &BranchView) -> v1::BranchSummary {
    let BranchView { slug, title, time_zone, areas } = view;
    v1::BranchSummary {
        name: names::branch(slug),
        display_name: title.to_string(),
        time_zone: time_zone.to_string(),
        areas: areas.iter().map(|view| area(slug, view)).collect(),
        seat_count: count(areas.iter().map(|area| area.seat_count).sum::<u32>()),
        available_count: count(areas.iter().map(|area| area.available_count).sum::<u32>()),
    }
}

fn area(branch: &Slug, view: &AreaView) -> v1::AreaSummary {
    let AreaView { slug, title, seat_count, available_count, is_open } = view;
    v1::AreaSummary {
        name: names::area(branch, slug),
        display_name: title.to_string(),
        seat_count: count(*seat_count),
        available_count: count(*available_count),
        open: *is_open,
    }
}

#[must_use]
pub fn import(summary: ImportSummary, commit: Option<v1::CommitInfo>) -> v1::ImportCatalogResponse {
    let ImportSummary { revision, branch_count, area_count, seat_count, displaced_count } = summary;
    v1::ImportCatalogResponse {
        revision: revision.cast_signed(),
        branch_count: count(branch_count),
        area_count: count(area_count),
        seat_count: count(seat_count),
        displaced_count: count(displaced_count),
        commit,
    }
}

#[must_use]
pub fn reservation(view: &ClaimView) -> v1::Reservation {
    let ClaimView { claim, seat, holder } = view;
    v1::Reservation {
        name: names::reservation(claim.id),
        seat: names::seat(&seat.branch, &seat.seat),
        user: names::user_or_nobody(holder.as_ref()),
        start_time: Some(to_timestamp(claim.interval.start())),
        end_time: Some(to_timestamp(claim.interval.end())),
        state: state(claim.state.name()).into(),
        deadline: claim.deadline().map(to_timestamp),
        origin: origin(claim.origin).into(),
        revision: i64::from(claim.revision),
    }
}

#[must_use]
pub fn state(state: StateName) -> v1::reservation::State {
    use v1::reservation::State;
    match state {
        StateName::Held => State::Held,
        StateName::Confirmed => State::Confirmed,
        StateName::CheckedIn => State::CheckedIn,
        StateName::Away => State::Away,
        StateName::Expired => State::Expired,
        StateName::Cancelled => State::Cancelled,
        StateName::Displaced => State::Displaced,
        StateName::NoShow => State::NoShow,
        StateName::Released => State::Released,
        StateName::Completed => State::Completed,
    }
}

fn origin(origin: Origin) -> v1::reservation::Origin {
    match origin {
        Origin::Booking => v1::reservation::Origin::Booking,
        Origin::Hold => v1::reservation::Origin::Hold,
        Origin::Offer => v1::reservation::Origin::Offer,
        Origin::WalkIn => v1::reservation::Origin::WalkIn,
        Origin::Maintenance => v1::reservation::Origin::Maintenance,
        Origin::Closure => v1::reservation::Origin::Closure,
    }
}

/// With its place in line, as far as that is known.
#[must_use]
pub fn wait(view: &WaitView, place_in_line: Option<RangeInclusive<u32>>) -> v1::WaitlistEntry {
    use carrel_domain::request::Place;
    use v1::waitlist_entry::{State, Target};
    let WaitView { wait, user, place } = view;
    let (state, claim) = match wait.state {
        WaitState::Waiting => (State::Waiting, None),
        WaitState::Offered { claim } => (State::Offered, Some(claim)),
        WaitState::Fulfilled { claim } => (State::Fulfilled, Some(claim)),
        WaitState::Left => (State::Left, None),
        WaitState::Expired => (State::Expired, None),
    };
    let target = match place {
        Place::Seat { branch, seat } => Target::Seat(names::seat(branch, seat)),
        Place::Area { branch, area } => Target::Area(names::area(branch, area)),
        Place::Branch { branch } => Target::Branch(names::branch(branch)),
    };
    v1::WaitlistEntry {
        name: names::wait(wait.id),
        user: names::user_or_nobody(user.as_ref()),
        target: Some(target),
        amenities: titles(&wait.need.amenities),
        accessible: wait.need.accessible,
        interval: Some(to_interval(wait.interval)),
        state: state.into(),
        reservation: claim.map(names::reservation).unwrap_or_default(),
        create_time: Some(to_timestamp(wait.created_at)),
        stay_minutes: count(wait.minutes),
        best_place: place_in_line.as_ref().map_or(0, |place| count(*place.start())),
        worst_place: place_in_line.as_ref().map_or(0, |place| count(*place.end())),
        missed_offers: count(wait.missed),
    }
}

#[must_use]
pub fn alternative(alternative: &Alternative) -> v1::Alternative {
    let Alternative { seat: view, interval, group } = alternative;
    v1::Alternative {
        seat: Some(seat(view)),
        interval: Some(to_interval(*interval)),
        group_seats: group.iter().map(seat).collect(),
    }
}

#[must_use]
pub fn outcome(outcome: &Result<ClaimView, Refusal>) -> v1::batch_create_reservations_response::Outcome {
    use v1::batch_create_reservations_response::outcome::Outcome as One;
    let outcome = match outcome {
        Ok(view) => One::Reservation(reservation(view)),
        Err(refusal) => One::Refusal(failing_rule(*refusal)),
    };
    v1::batch_create_reservations_response::Outcome { outcome: Some(outcome), ..Default::default() }
}

#[must_use]
pub fn closed(summary: ClosureSummary, commit: Option<v1::CommitInfo>) -> v1::CloseSeatsResponse {
    let ClosureSummary { seat_count, moved_count, displaced_count } = summary;
    v1::CloseSeatsResponse {
        seat_count: count(seat_count),
        moved_count: count(moved_count),
        displaced_count: count(displaced_count),
        commit,
    }
}

#[must_use]
pub fn reopened(summary: ClosureSummary, commit: Option<v1::CommitInfo>) -> v1::ReopenSeatsResponse {
    v1::ReopenSeatsResponse { seat_count: count(summary.seat_count), commit }
}

#[must_use]
pub fn quotas(quotas: &Quotas) -> v1::GetQuotaResponse {
    let Quotas { reservations, future, minutes_on_day, minutes_in_week, on_day, in_week } = quotas;
    let usage =
        |Usage { used, max }: &Usage| Some(v1::get_quota_response::Usage { used: count(*used), max: max.map(count) });
    v1::GetQuotaResponse {
        reservations: usage(reservations),
        future: usage(future),
        minutes_on_day: usage(minutes_on_day),
        minutes_in_week: usage(minutes_in_week),
        on_day: usage(on_day),
        in_week: usage(in_week),
    }
}

#[must_use]
pub fn strike(strike: &Strike) -> v1::Strike {
    let Strike { at, claim, cause, waived } = strike;
    let cause = match cause {
        StrikeCause::NoShow => v1::strike::Cause::NoShow,
        StrikeCause::Released => v1::strike::Cause::Released,
        StrikeCause::LateCancel => v1::strike::Cause::LateCancel,
    };
    v1::Strike {
        reservation: names::reservation(*claim),
        cause: cause.into(),
        create_time: Some(to_timestamp(*at)),
        waived: *waived,
    }
}

/// How somebody is told by e-mail.
#[must_use]
pub fn mail_delivery(mail: Option<&Mail>) -> v1::MailDelivery {
    let Some((mail, delivery)) = mail.and_then(|mail| Some((mail, mail.delivery.as_ref()?))) else {
        return v1::MailDelivery::default();
    };
    let MailWishes { notices, messages, announcements } = delivery.wishes;
    v1::MailDelivery {
        address: delivery.address.to_string(),
        notices,
        messages,
        announcements,
        confirmed: delivery.proof == AddressProof::Given,
        given_up_count: count(mail.given_up_count),
    }
}

/// Everything about a person, as they are told it.
#[must_use]
pub fn export(export: &Export, lineage: u32) -> v1::ExportMyDataResponse {
    let Export {
        user: view,
        needs_accessible,
        read_up_to: _,
        sessions,
        strikes,
        claims,
        waits,
        inbox,
        messages,
        blocks,
        follows,
        has_calendar_feed,
        mail,
        audit,
    } = export;
    v1::ExportMyDataResponse {
        user: Some(user(view)),
        needs_accessible: *needs_accessible,
        session_expire_times: sessions.iter().map(|session| to_timestamp(session.expires_at)).collect(),
        strikes: strikes.iter().map(strike).collect(),
        reservations: claims.iter().map(reservation).collect(),
        waitlist_entries: waits.iter().map(|view| wait(view, None)).collect(),
        inbox_items: inbox.iter().map(|item| inbox_item(item, &view.name, lineage)).collect(),
        messages: messages.iter().map(message).collect(),
        blocked_users: blocks.iter().map(names::user).collect(),
        followed_branches: follows.iter().map(names::branch).collect(),
        has_calendar_feed: *has_calendar_feed,
        audit_events: audit.iter().map(audit::event).collect(),
        mail_address: mail_delivery(mail.as_ref()).address,
    }
}

/// A log-in, as its owner sees it from the session that asks.
#[must_use]
pub fn session(view: &SessionView, own: TokenDigest) -> v1::Session {
    v1::Session {
        name: names::session(view.session),
        create_time: Some(to_timestamp(view.created_at)),
        expire_time: Some(to_timestamp(view.expires_at)),
        current: view.session == own,
    }
}

#[must_use]
pub fn message(view: &MessageView) -> v1::Message {
    let MessageView { stream: _, position, sender, recipients, text, at } = view;
    v1::Message {
        name: names::message(*position),
        sender: names::user_or_nobody(sender.as_ref()),
        recipients: recipients.iter().map(|name| names::user_or_nobody(name.as_ref())).collect(),
        text: text.to_string(),
        create_time: Some(to_timestamp(*at)),
    }
}

#[must_use]
pub fn conversation(view: &ConversationView) -> v1::Conversation {
    let ConversationView { others, last, unread_count } = view;
    v1::Conversation {
        participants: others.iter().map(|name| names::user_or_nobody(name.as_ref())).collect(),
        last_message: Some(message(last)),
        unread_count: count(*unread_count),
    }
}

/// An item as its owner sees it.
#[must_use]
pub fn inbox_item(view: &ItemView, owner: &UserName, lineage: u32) -> v1::InboxItem {
    use v1::inbox_item::Kind;
    let ItemView { position, at, is_unread, subject } = view;
    let blank = v1::InboxItem {
        name: names::inbox_item(owner, *position),
        create_time: Some(to_timestamp(*at)),
        unread: *is_unread,
        resume_token: ResumeToken { lineage, position: *position }.encode(),
        ..Default::default()
    };
    let about = |kind: Kind, subject: String| v1::InboxItem { kind: kind.into(), subject, ..blank.clone() };
    let written = |kind: Kind, sender: &Option<UserName>, text: String| v1::InboxItem {
        kind: kind.into(),
        sender: names::user_or_nobody(sender.as_ref()),
        text,
        ..blank.clone()
    };
    match subject {
        ItemSubject::Message { sender, text } => {
            v1::InboxItem { message: names::message(*position), ..written(Kind::Message, sender, text.to_string()) }
        }
        ItemSubject::Announcement { sender, text } => written(Kind::Announcement, sender, text.to_string()),
        ItemSubject::OfferMade { claim } => about(Kind::OfferMade, names::reservation(*claim)),
        ItemSubject::OfferExpired { claim } => about(Kind::OfferExpired, names::reservation(*claim)),
        ItemSubject::NoShow { claim } => about(Kind::NoShow, names::reservation(*claim)),
        ItemSubject::Displaced { claim } => about(Kind::Displaced, names::reservation(*claim)),
        ItemSubject::CancelledByStaff { claim } => about(Kind::CancelledByStaff, names::reservation(*claim)),
        ItemSubject::Suspended { until } => {
            v1::InboxItem { until: Some(to_timestamp(*until)), ..about(Kind::Suspended, String::new()) }
        }
        ItemSubject::WaitExpired { wait } => about(Kind::WaitExpired, names::wait(*wait)),
        ItemSubject::HoldExpired { claim } => about(Kind::HoldExpired, names::reservation(*claim)),
        ItemSubject::Released { claim } => about(Kind::Released, names::reservation(*claim)),
        ItemSubject::Moved { claim } => about(Kind::Moved, names::reservation(*claim)),
        ItemSubject::BookedForYou { claim } => about(Kind::BookedForYou, names::reservation(*claim)),
        ItemSubject::SeatReported { claim, until } => {
            v1::InboxItem { until: Some(to_timestamp(*until)), ..about(Kind::SeatReported, names::reservation(*claim)) }
        }
        ItemSubject::CancelledLate { claim } => about(Kind::CancelledLate, names::reservation(*claim)),
        ItemSubject::StrikeWaived { claim } => about(Kind::StrikeWaived, names::reservation(*claim)),
        ItemSubject::Unsent { message } => {
            v1::InboxItem { message: names::message(*message), ..about(Kind::Unsent, String::new()) }
        }
        ItemSubject::Reported { reporter, sender, text, reason } => v1::InboxItem {
            reporter: names::user_or_nobody(reporter.as_ref()),
            reason: reason.to_string(),
            ..written(Kind::Reported, sender, text.to_string())
        },
    }
}

fn titles(titles: &[Title]) -> Vec<String> {
    titles.iter().map(ToString::to_string).collect()
}

fn metres(centimetres: i32) -> f64 {
    f64::from(centimetres) / 100.0
}
