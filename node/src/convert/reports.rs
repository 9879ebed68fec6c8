//! Reports between the wire and what counts them.

use carrel_domain::account::Role;
use carrel_domain::catalog::Catalog;
use carrel_domain::claim::Claim;
use carrel_domain::history::PseudonymSecret;
use carrel_domain::id::UserId;
use carrel_domain::refusal::Refusal;
use carrel_domain::request::At;
use carrel_domain::state::State;
use carrel_domain::text::Slug;
use carrel_domain::time::DAY_US;
use carrel_proto::v1;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::convert::invalid::Invalid;
use crate::convert::names;
use crate::convert::time::{from_interval, shown, to_timestamp};
use crate::projection::rows::{origin, state_name};
use crate::reports::{Group, Grouping, NoShows, Peak, Question, Report, Utilization, Waits};

const DAYS_MAX: i64 = 3_660;

/// What is asked, before anybody has looked whether there is such a branch.
#[derive(Clone, Debug)]
pub struct Asked {
    pub branch: Option<Slug>,
    pub interval: carrel_domain::time::Interval,
    pub grouping: Grouping,
}

/// # Errors
/// If the scope or the grouping means nothing.
pub fn asked(scope: Option<v1::ReportScope>, grouping: i32) -> Result<Asked, Invalid> {
    let v1::ReportScope { branch, interval } = scope.unwrap_or_default();
    let branch = if branch.is_empty() { None } else { Some(names::parse_branch("scope.branch", &branch)?) };
    let interval = from_interval("scope.interval", interval)?;
    if interval.length_us() > DAYS_MAX * DAY_US {
        return Err(Invalid::field("scope.interval", format!("it is longer than {DAYS_MAX} days")));
    }
    let grouping = match v1::Grouping::try_from(grouping) {
        Ok(v1::Grouping::Unspecified) => Grouping::All,
        Ok(v1::Grouping::Branch) => Grouping::Branch,
        Ok(v1::Grouping::Area) => Grouping::Area,
        Ok(v1::Grouping::Hour) => Grouping::Hour,
        Err(_) => return Err(Invalid::field("grouping", format!("there is no grouping {grouping}"))),
    };
    Ok(Asked { branch, interval, grouping })
}

impl Asked {
    /// For whoever may know: admins and auditors everything, librarians what they run.
    ///
    /// # Errors
    /// If it is not the viewer's to see, or there is no such branch.
    pub fn by(self, role: &Role<Slug>, catalog: &Catalog) -> Result<Question, Refusal> {
        let is_theirs = match role {
            Role::Admin | Role::Auditor => true,
            Role::Librarian(branches) => self.branch.as_ref().is_some_and(|branch| branches.contains(branch)),
            Role::Patron | Role::Kiosk => false,
        };
        if !is_theirs {
            return Err(Refusal::NotPermitted);
        }
        let find = |branch: Slug| catalog.find_branch(branch.as_str()).ok_or(Refusal::BranchNotFound);
        let branch = self.branch.map(find).transpose()?;
        Ok(Question { branch, interval: self.interval, grouping: self.grouping })
    }
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Record,
    State,
}

#[must_use]
pub fn source(source: Source, at: At) -> v1::ReportSource {
    let kind = match source {
        Source::Record => v1::report_source::Kind::Record,
        Source::State => v1::report_source::Kind::State,
    };
    let (applied_index, applied_time) = (at.index.cast_signed(), Some(to_timestamp(at.time)));
    v1::ReportSource { kind: kind.into(), applied_index, applied_time }
}

fn group(catalog: &Catalog, group: Group) -> String {
    match group {
        Group::All => String::new(),
        Group::Branch(id) => names::branch(&catalog.branch(id).slug),
        Group::Area(id) => {
            let area = catalog.area(id);
            names::area(&catalog.branch(area.branch).slug, &area.slug)
        }
        Group::Hour(hour) => format!("{hour:02}:00"),
    }
}

fn share(part: i64, whole: i64) -> f64 {
    if whole > 0 { part as f64 / whole as f64 } else { 0.0 }
}

#[must_use]
pub fn utilization(catalog: &Catalog, report: &Report<Utilization>, from: Source) -> v1::GetUtilizationResponse {
    let line = |(of, line): &(Group, Utilization)| v1::get_utilization_response::Line {
        group: group(catalog, *of),
        seat_count: line.seats.cast_signed(),
        reservation_count: line.reservations.cast_signed(),
        open_minutes: line.open_s / 60,
        kept_minutes: line.kept_s / 60,
        used_minutes: line.used_s / 60,
        kept_share: share(line.kept_s, line.open_s),
        used_share: share(line.used_s, line.open_s),
    };
    let lines = report.lines.iter().map(line).collect();
    v1::GetUtilizationResponse { lines, source: Some(source(from, report.at)) }
}

#[must_use]
pub fn no_shows(catalog: &Catalog, report: &Report<NoShows>, from: Source) -> v1::GetNoShowsResponse {
    let line = |(of, line): &(Group, NoShows)| v1::get_no_shows_response::Line {
        group: group(catalog, *of),
        due_count: line.due.cast_signed(),
        no_show_count: line.no_shows.cast_signed(),
        released_count: line.released.cast_signed(),
        cancelled_count: line.cancelled.cast_signed(),
        no_show_rate: share(line.no_shows.cast_signed(), line.due.cast_signed()),
    };
    let lines = report.lines.iter().map(line).collect();
    v1::GetNoShowsResponse { lines, source: Some(source(from, report.at)) }
}

#[must_use]
pub fn waits(catalog: &Catalog, report: &Report<Waits>, from: Source) -> v1::GetWaitsResponse {
    let line = |(of, line): &(Group, Waits)| v1::get_waits_response::Line {
        group: group(catalog, *of),
        wait_count: line.waits.cast_signed(),
        fulfilled_count: line.fulfilled.cast_signed(),
        expired_count: line.expired.cast_signed(),
        left_count: line.left.cast_signed(),
        mean_minutes: line.mean_minutes,
        median_minutes: line.median_minutes,
        ninetieth_minutes: line.ninetieth_minutes,
    };
    let lines = report.lines.iter().map(line).collect();
    v1::GetWaitsResponse { lines, source: Some(source(from, report.at)) }
}

#[must_use]
pub fn peaks(catalog: &Catalog, report: &Report<Peak>, from: Source) -> v1::GetPeaksResponse {
    let line = |(of, line): &(Group, Peak)| v1::get_peaks_response::Line {
        group: group(catalog, *of),
        seat_count: line.seats.cast_signed(),
        peak_count: line.kept.cast_signed(),
        peak_time: line.at.map(to_timestamp),
    };
    let lines = report.lines.iter().map(line).collect();
    v1::GetPeaksResponse { lines, source: Some(source(from, report.at)) }
}

/// Who the people of an export are said to be.
#[derive(Clone, Debug)]
pub enum People {
    Pseudonyms(PseudonymSecret),
    Names,
}

/// A secret that nobody can guess.
///
/// # Errors
/// If the operating system has no random bytes.
pub fn draw_secret() -> Result<PseudonymSecret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(PseudonymSecret(bytes))
}

/// "p-3f8a94d2c01b77e5": the same for the same person, and nothing that can be undone without the secret.
#[must_use]
pub fn pseudonym(secret: &PseudonymSecret, user: UserId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key may have any length");
    mac.update(&user.0.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let first = hash.first_chunk::<8>().expect("a SHA-256 has 32 bytes");
    format!("p-{:016x}", u64::from_be_bytes(*first))
}

const HEADINGS: [&str; 11] = [
    "reservation",
    "person",
    "branch",
    "area",
    "seat",
    "start_time",
    "end_time",
    "origin",
    "state",
    "create_time",
    "change_time",
];

/// Lines of an export, under headings if they are the first.
///
/// # Errors
/// If memory does not take them, which it does.
pub fn csv(view: &State, claims: &[Claim], people: &People, is_first: bool) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(160 * (claims.len() + 1)));
    if is_first {
        writer.write_record(HEADINGS)?;
    }
    let catalog = view.catalog();
    for claim in claims.iter().filter(|claim| (claim.seat.0 as usize) < catalog.seat_count()) {
        let seat = catalog.seat(claim.seat);
        let person = match (people, claim.holder) {
            (People::Pseudonyms(secret), Some(holder)) => pseudonym(secret, holder),
            (People::Names, Some(holder)) => names::user_or_nobody(view.user_name(holder)),
            (_, None) => String::new(),
        };
        writer.write_record([
            names::reservation(claim.id).as_str(),
            &person,
            catalog.branch(seat.branch).slug.as_str(),
            catalog.area(seat.area).slug.as_str(),
            seat.slug.as_str(),
            &shown(claim.interval.start()),
            &shown(claim.interval.end()),
            origin(claim.origin),
            state_name(claim.state.name()),
            &shown(claim.created_at),
            &shown(claim.changed_at),
        ])?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_the_same_every_time_and_another_under_another_secret() {
        let (ours, theirs) = (PseudonymSecret([1; 32]), PseudonymSecret([2; 32]));
        let of = |secret, user| pseudonym(secret, UserId(user));
        assert_eq!(of(&ours, 7), of(&ours, 7));
        assert_ne!(of(&ours, 7), of(&ours, 8));
        assert_ne!(of(&ours, 7), of(&theirs, 7));
        assert_eq!(of(&ours, 7).len(), "p-3f8a94d2c01b77e5".len());
    }
}
