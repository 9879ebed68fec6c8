//! Who may look at which part of the audit, and what of it they are told.

use crate::account::{Role, User};
use crate::audit::{Entry, What};
use crate::claim::ClaimState;
use crate::event::{Actor, Reason};
use crate::id::{ClaimId, Position, SeatId, UserId};
use crate::refusal::Refusal;
use crate::request::{ActionName, SeatName};
use crate::state::State;
use crate::text::{Title, UserName};
use crate::time::Timestamp;

/// Entries that one page looks at: who wants to see more of them asks for the next.
const LOOKED_AT_MAX: usize = 20_000;

/// What of the audit to look at. Nothing named: everything that the viewer may see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditSearch {
    pub user: Option<UserName>,
    pub claim: Option<ClaimId>,
    /// Only what is older.
    pub before: Option<Position>,
    pub limit: usize,
}

/// Newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    pub entries: Vec<AuditView>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Position>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AuditView {
    pub position: Position,
    pub at: Timestamp,
    pub actor: AuditActor,
    pub reason: Reason,
    pub note: Option<Title>,
    pub subject: Option<AuditPerson>,
    pub what: What,
    /// Of a claim: its seats before and after.
    pub seats: (Option<SeatName>, Option<SeatName>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditActor {
    Time,
    System,
    Anonymous,
    Person(AuditPerson),
    /// Somebody whom the viewer does not get to know.
    Another,
}

/// By name to those who work with people, to auditors by a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditPerson {
    Named(UserName),
    Numbered(UserId),
}

impl State {
    /// # Errors
    /// If it is not the viewer's to see, or names nobody.
    pub fn audit(&self, viewer: UserId, search: &AuditSearch) -> Result<AuditPage, Refusal> {
        let user = self.accounts.user(viewer).ok_or(Refusal::SessionExpired)?;
        let sees_all = matches!(user.role, Role::Admin | Role::Auditor);
        let person = match &search.user {
            Some(name) => Some(self.audited(user, name)?),
            None => None,
        };
        let holder = match search.claim {
            Some(id) if sees_all => self.claims.get(id).ok_or(Refusal::ReservationNotFound)?.holder,
            Some(id) => self.claim_for(viewer, id)?.holder,
            None => None,
        };
        let is_staff = sees_all || matches!(user.role, Role::Librarian(_));
        // With an account goes what is found by it: what became of its reservations is found among everything else.
        let holder = holder.filter(|&holder| !is_staff || self.accounts.user(holder).is_some());
        let subject = person.or(holder).or((!is_staff).then_some(viewer));
        match subject {
            Some(subject) => Ok(self.page(user, search, self.trail.of(subject))),
            None => Ok(self.page(user, search, self.trail.all())),
        }
    }

    fn audited(&self, viewer: &User, name: &UserName) -> Result<UserId, Refusal> {
        let found = self.accounts.find(name).map(|user| user.id);
        match found {
            Some(id) if id == viewer.id => Ok(id),
            // Whoever is told numbers instead of names does not get to ask which number is whose.
            _ if viewer.role == Role::Auditor => Err(Refusal::NotPermitted),
            _ => self.under_staff(viewer.id, name),
        }
    }

    fn page(&self, viewer: &User, search: &AuditSearch, entries: impl Iterator<Item = Entry>) -> AuditPage {
        let mut found = Vec::new();
        let older = entries.filter(|entry| search.before.is_none_or(|before| entry.position() < before));
        let mut last = None;
        for (looked_at, entry) in older.enumerate() {
            if looked_at >= LOOKED_AT_MAX || found.len() >= search.limit {
                return AuditPage { entries: found, next: last };
            }
            last = Some(entry.position());
            let is_asked_for = search.claim.is_none_or(|claim| match entry.what {
                What::Claim { claim: other, .. } | What::Strike { claim: other, .. } => other == claim,
                _ => false,
            });
            if is_asked_for && self.is_shown_to(viewer, &entry) {
                found.push(self.audit_view(viewer, &entry));
            }
        }
        AuditPage { entries: found, next: None }
    }

    fn is_shown_to(&self, viewer: &User, entry: &Entry) -> bool {
        let at = |seat: SeatId| viewer.role.runs_branch(self.catalog.seat(seat).branch);
        match &viewer.role {
            Role::Admin | Role::Auditor => true,
            _ if entry.subject == Some(viewer.id) => true,
            Role::Librarian(_) => match &entry.what {
                What::Claim { before, after, .. } => at(after.seat) || before.is_some_and(|before| at(before.seat)),
                What::Strike { claim, .. } => self.claims.get(*claim).is_some_and(|claim| at(claim.seat)),
                What::Wait { wait, .. } => {
                    let wait = self.waitlist.waits.get(wait);
                    wait.is_some_and(|wait| viewer.role.runs_branch(self.branch_of(wait.need.place)))
                }
                What::Account { .. } => {
                    let subject = entry.subject.and_then(|id| self.accounts.user(id));
                    subject.is_some_and(|user| user.role == Role::Patron)
                }
                What::AccountDeleted
                | What::Catalog { .. }
                | What::PresenceKey { .. }
                | What::LetGo { .. }
                | What::PseudonymKey
                | What::Webhook { .. } => false,
            },
            Role::Patron | Role::Kiosk => false,
        }
    }

    fn audit_view(&self, viewer: &User, entry: &Entry) -> AuditView {
        let sees_names = matches!(viewer.role, Role::Admin | Role::Librarian(_));
        let person = |id: UserId| match self.accounts.user(id) {
            Some(user) if sees_names || id == viewer.id => AuditPerson::Named(user.name.clone()),
            _ => AuditPerson::Numbered(id),
        };
        // Whoever reports an empty seat, or frees one for others, is not told to them; that staff did something is.
        let is_known = |id: UserId| {
            let is_report = entry.reason == Reason::Asked(ActionName::ReportEmptySeat);
            let is_staff = self.accounts.user(id).is_some_and(|user| user.role != Role::Patron);
            id == viewer.id || sees_names || viewer.role == Role::Auditor || (is_staff && !is_report)
        };
        let actor = match entry.actor {
            Actor::Time => AuditActor::Time,
            Actor::System => AuditActor::System,
            Actor::Anonymous => AuditActor::Anonymous,
            Actor::User(id) if is_known(id) => match self.accounts.user(id) {
                Some(user) if viewer.role != Role::Auditor => AuditActor::Person(AuditPerson::Named(user.name.clone())),
                _ => AuditActor::Person(person(id)),
            },
            Actor::User(_) => AuditActor::Another,
        };
        let told = |state: ClaimState| if sees_names { state } else { state.without_reporter() };
        let seat = |id: SeatId| {
            let seat = self.catalog.seat(id);
            SeatName { branch: self.catalog.branch(seat.branch).slug.clone(), seat: seat.slug.clone() }
        };
        let (what, seats) = match entry.what.clone() {
            What::Claim { claim, mut before, mut after } => {
                after.state = told(after.state);
                if let Some(before) = &mut before {
                    before.state = told(before.state);
                }
                let seats = (before.map(|before| seat(before.seat)), Some(seat(after.seat)));
                (What::Claim { claim, before, after }, seats)
            }
            other => (other, (None, None)),
        };
        AuditView {
            position: entry.position(),
            at: entry.at.time,
            actor,
            reason: entry.reason,
            note: entry.note.clone(),
            subject: entry.subject.map(person),
            what,
            seats,
        }
    }
}
