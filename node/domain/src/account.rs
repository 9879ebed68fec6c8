//! People: who they are, what they may do, and what the rules must know of them at hand.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::catalog::COUNTED_MAX;
use crate::deadline::Due;
use crate::effects::Effects;
use crate::event::{Change, UserRow};
use crate::id::{BranchId, ClaimId, Position, TokenDigest, UserId, WaitId};
use crate::query::UserView;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::Caller;
use crate::state::State;
use crate::strike::StrikeCause;
use crate::table::Table;
use crate::text::{Slug, UserName};
use crate::time::{DAY_US, Interval, MINUTE_US, Timestamp};
use crate::waitlist::WaitState;

/// How long one log-in lasts.
pub const SESSION_DAYS: i64 = 7;
/// The oldest session of a person ends when there would be more.
pub const SESSIONS_PER_USER_MAX: usize = 20;
/// An ended session answers repetitions of requests for as long as their records are kept, and nothing else.
pub const ENDED_SESSION_US: i64 = 15 * MINUTE_US;

/// A slot of a whole day may be booked while it runs, in a week that began seven days before that.
const USED_KEPT_US: i64 = 10 * DAY_US;

/// An argon2id hash in PHC form, made at the edge. The password itself never comes this far.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(pub Arc<str>);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// What a person may do. `Branch` is a name at the edge and an id in the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role<Branch = BranchId> {
    Patron,
    /// Of these branches.
    Librarian(Vec<Branch>),
    Admin,
    Auditor,
    Kiosk,
}

/// A role without what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RoleName {
    Patron,
    Librarian,
    Admin,
    Auditor,
    Kiosk,
}

impl Role {
    #[must_use]
    pub fn may_reserve(&self) -> bool {
        matches!(self, Self::Patron | Self::Librarian(_) | Self::Admin)
    }

    #[must_use]
    pub fn runs_branch(&self, branch: BranchId) -> bool {
        match self {
            Self::Librarian(branches) => branches.contains(&branch),
            Self::Admin => true,
            Self::Patron | Self::Auditor | Self::Kiosk => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: UserName,
    pub password: PasswordHash,
    pub role: Role,
    pub created: crate::request::At,
    /// By strikes and staff together: see `strike`.
    pub suspended_until: Option<Timestamp>,
    /// What staff have said of it.
    pub staff_suspension: Option<Timestamp>,
    /// Newest last.
    pub strikes: Vec<Strike>,
    /// May have seats that are kept for who needs them.
    pub needs_accessible: bool,
    /// When they last reported a seat as empty that was not; the newest few.
    pub false_reports: Vec<Timestamp>,
    /// Newest last.
    pub sessions: Vec<TokenDigest>,
    /// Everything up to here has been read. Never goes back.
    pub read_up_to: Position,
    /// How many items the stream holds.
    pub item_count: u32,
    /// Blocking claims by start. Invariant: disjoint.
    pub live: Vec<Live>,
    /// When seats were used by claims that are over, for quotas; dropped ten days after the end. Invariant: in
    /// order and disjoint, so that there are no more of them than slots in ten days.
    pub used: Vec<Interval>,
    /// When those claims started, in order; as many as any quota counts.
    pub used_starts: Vec<Timestamp>,
    /// The newest of all claims; each claim names the one before it.
    pub newest_claim: Option<ClaimId>,
    /// Waits that are live or still shown, in order of joining.
    pub waits: Vec<WaitId>,
}

impl User {
    /// A slot booked again after leaving early counts once.
    pub(crate) fn has_used(&mut self, interval: Interval, now: Timestamp) {
        let first_kept = now.plus_us(-USED_KEPT_US);
        let (mut start, mut end) = interval.into();
        self.used_starts.retain(|&start| start > first_kept);
        if self.used_starts.len() >= COUNTED_MAX as usize {
            self.used_starts.remove(0);
        }
        let place = self.used_starts.partition_point(|&other| other <= start);
        self.used_starts.insert(place, start);
        self.used.retain(|used| {
            let touches = used.start() <= end && start <= used.end();
            if touches {
                (start, end) = (start.min(used.start()), end.max(used.end()));
            }
            !touches && used.end() > first_kept
        });
        let index = self.used.partition_point(|used| used.start() < start);
        self.used.insert(index, Interval::new(start, end).expect("longer than what it was"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub interval: Interval,
    pub claim: ClaimId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    pub at: Timestamp,
    pub claim: ClaimId,
    pub cause: StrikeCause,
    /// Forgiven by staff: it is remembered and does not count.
    pub waived: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub user: UserId,
    pub expires_at: Timestamp,
    /// Ended sessions only answer repetitions.
    pub ended: bool,
}

/// All accounts. Invariant: a user's id is its index; a deleted user leaves an empty place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub users: Table<Option<Arc<User>>>,
    /// By `UserName::key`.
    pub names: OrdMap<UserName, UserId>,
    pub sessions: OrdMap<TokenDigest, Session>,
    pub admin_count: u32,
}

impl Accounts {
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(usize::try_from(id.0).ok()?)?.as_deref()
    }

    pub fn user_mut(&mut self, id: UserId) -> Option<&mut User> {
        let slot = self.users.get_mut(usize::try_from(id.0).ok()?)?;
        slot.as_mut().map(Arc::make_mut)
    }

    pub fn find(&self, name: &UserName) -> Option<&User> {
        self.user(*self.names.get(&name.key())?)
    }
}

/// Who asks, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    System,
    Anonymous,
    User(UserId),
    /// Of an ended session: repetitions only.
    Ended(UserId),
}

impl State {
    pub(crate) fn principal(&self, caller: Caller) -> Result<Principal, Refusal> {
        match caller {
            Caller::System => Ok(Principal::System),
            Caller::Anonymous => Ok(Principal::Anonymous),
            Caller::Session(token) => match self.accounts.sessions.get(&token) {
                Some(session) if session.ended => Ok(Principal::Ended(session.user)),
                Some(session) => Ok(Principal::User(session.user)),
                None => Err(Refusal::SessionExpired),
            },
        }
    }

    pub(crate) fn create_first_admin(
        &mut self,
        name: &UserName,
        password: &PasswordHash,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        if self.accounts.admin_count > 0 {
            return Err(Refusal::NotPermitted);
        }
        let id = self.add_user(name, password, Role::Admin, fx)?;
        Ok(Reply::User(self.user_view_of(id)))
    }

    pub(crate) fn register(
        &mut self,
        name: &UserName,
        password: &PasswordHash,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = self.add_user(name, password, Role::Patron, fx)?;
        Ok(Reply::User(self.user_view_of(id)))
    }

    fn add_user(
        &mut self,
        name: &UserName,
        password: &PasswordHash,
        role: Role,
        fx: &mut Effects,
    ) -> Result<UserId, Refusal> {
        if self.accounts.names.contains_key(&name.key()) {
            return Err(Refusal::UserNameTaken);
        }
        let id = UserId(self.accounts.users.len() as u64);
        let user = User {
            id,
            name: name.clone(),
            password: password.clone(),
            role,
            created: fx.at(),
            suspended_until: None,
            staff_suspension: None,
            strikes: Vec::new(),
            needs_accessible: false,
            false_reports: Vec::new(),
            sessions: Vec::new(),
            read_up_to: Position::end_of(fx.at().index),
            item_count: 0,
            live: Vec::new(),
            used: Vec::new(),
            used_starts: Vec::new(),
            newest_claim: None,
            waits: Vec::new(),
        };
        if user.role == Role::Admin {
            self.accounts.admin_count += 1;
        }
        fx.happened(Change::User { before: None, after: UserRow::from(&user) });
        self.accounts.users.push(Some(Arc::new(user)));
        self.accounts.names.insert(name.key(), id);
        Ok(id)
    }

    pub(crate) fn start_session(
        &mut self,
        user: UserId,
        password: &PasswordHash,
        token: TokenDigest,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let account = self.accounts.user(user).ok_or(Refusal::UserNotFound)?;
        if account.password != *password {
            return Err(Refusal::PasswordChanged);
        }
        // Tokens are drawn at random, so one that is known already is the same log-in once more.
        let expires_at = match self.accounts.sessions.get(&token) {
            Some(session) if session.user == user && !session.ended => session.expires_at,
            Some(_) => return Err(Refusal::SessionExpired),
            None => self.add_session(user, token, fx),
        };
        let unread_count = self.unread_count(user);
        Ok(Reply::Session { user: self.user_view_of(user), expires_at, unread_count })
    }

    fn add_session(&mut self, user: UserId, token: TokenDigest, fx: &mut Effects) -> Timestamp {
        let expires_at = fx.now().plus_us(SESSION_DAYS * DAY_US);
        self.accounts.sessions.insert(token, Session { user, expires_at, ended: false });
        self.deadlines.insert((expires_at, Due::Session(token)));
        let account = self.accounts.user_mut(user).expect("looked up by the caller");
        // Most people have one.
        account.sessions.reserve_exact(1);
        account.sessions.push(token);
        if account.sessions.len() > SESSIONS_PER_USER_MAX {
            let oldest = account.sessions[0];
            self.end_session(oldest, fx);
        }
        expires_at
    }

    /// From now on the session only answers repetitions, until their records are gone.
    pub(crate) fn end_session(&mut self, token: TokenDigest, fx: &mut Effects) {
        let Some(session) = self.accounts.sessions.get_mut(&token).filter(|session| !session.ended) else { return };
        let (user, old) = (session.user, session.expires_at);
        session.ended = true;
        session.expires_at = fx.now().plus_us(ENDED_SESSION_US);
        let until = session.expires_at;
        self.deadlines.remove(&(old, Due::Session(token)));
        self.deadlines.insert((until, Due::Session(token)));
        if let Some(user) = self.accounts.user_mut(user) {
            user.sessions.retain(|other| *other != token);
        }
    }

    /// Of one's own. Who has it must log in again.
    pub(crate) fn revoke_session(
        &mut self,
        by: UserId,
        token: TokenDigest,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let session = self.accounts.sessions.get(&token).filter(|session| session.user == by);
        if session.is_none() {
            return Err(Refusal::SessionNotFound);
        }
        self.end_session(token, fx);
        Ok(Reply::Done)
    }

    /// Whoever knew the old password is logged out everywhere, but for the session that asks.
    pub(crate) fn change_password(
        &mut self,
        by: UserId,
        own: Option<TokenDigest>,
        old: &PasswordHash,
        new: &PasswordHash,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let user = self.accounts.user_mut(by).ok_or(Refusal::SessionExpired)?;
        if user.password != *old {
            return Err(Refusal::PasswordChanged);
        }
        user.password = new.clone();
        let others: Vec<TokenDigest> = user.sessions.iter().copied().filter(|&token| Some(token) != own).collect();
        for token in others {
            self.end_session(token, fx);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn session_due(&mut self, token: TokenDigest) {
        if let Some(session) = self.accounts.sessions.remove(&token)
            && let Some(user) = self.accounts.user_mut(session.user)
        {
            user.sessions.retain(|other| *other != token);
        }
    }

    pub(crate) fn delete_user(&mut self, by: UserId, name: &UserName, fx: &mut Effects) -> Result<Reply, Refusal> {
        let by_admin = self.accounts.user(by).is_some_and(|user| user.role == Role::Admin);
        let Some(user) = self.accounts.find(name).filter(|user| by_admin || user.id == by) else {
            // The same words whether or not there is such a person.
            return Err(if by_admin { Refusal::UserNotFound } else { Refusal::NotPermitted });
        };
        if user.role == Role::Admin && self.accounts.admin_count == 1 {
            return Err(Refusal::LastAdmin);
        }
        let id = user.id;
        let was_admin = user.role == Role::Admin;
        let (sessions, waits, suspended_until) = (user.sessions.clone(), user.waits.clone(), user.suspended_until);
        for wait in waits {
            self.end_wait(wait, WaitState::Left, fx);
        }
        let live: Vec<ClaimId> =
            self.accounts.user(id).into_iter().flat_map(|user| &user.live).map(|l| l.claim).collect();
        for claim in live {
            self.cancel_claim(claim, fx);
        }
        for token in sessions {
            self.end_session(token, fx);
        }
        if let Some(until) = suspended_until {
            self.deadlines.remove(&(until, Due::Suspension(id)));
        }
        self.drop_stream(id);
        self.drop_reach(id);
        self.mails.remove(id);
        self.accounts.names.remove(&name.key());
        *self.accounts.users.get_mut(id.0 as usize).expect("found above") = None;
        self.accounts.admin_count -= u32::from(was_admin);
        fx.happened(Change::UserDeleted { user: id });
        Ok(Reply::Done)
    }

    pub(crate) fn set_role(
        &mut self,
        by: UserId,
        name: &UserName,
        role: &Role<Slug>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        if self.accounts.user(by).is_none_or(|user| user.role != Role::Admin) {
            return Err(Refusal::NotPermitted);
        }
        let role = match role {
            Role::Patron => Role::Patron,
            Role::Librarian(branches) => {
                let find = |slug: &Slug| self.catalog.find_branch(slug.as_str()).ok_or(Refusal::BranchNotFound);
                let mut ids = branches.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                ids.sort_unstable();
                ids.dedup();
                Role::Librarian(ids)
            }
            Role::Admin => Role::Admin,
            Role::Auditor => Role::Auditor,
            Role::Kiosk => Role::Kiosk,
        };
        let user = self.accounts.find(name).ok_or(Refusal::UserNotFound)?;
        let (id, was_admin, is_admin) = (user.id, user.role == Role::Admin, role == Role::Admin);
        let is_another = user.role != role;
        if was_admin && !is_admin && self.accounts.admin_count == 1 {
            return Err(Refusal::LastAdmin);
        }
        self.accounts.admin_count = self.accounts.admin_count + u32::from(is_admin) - u32::from(was_admin);
        self.change_user(id, fx, |user| user.role = role);
        if is_another {
            self.hears_as_of_now(id, fx);
        }
        self.reconsider_waits_of(id, fx);
        Ok(Reply::User(self.user_view_of(id)))
    }

    pub(crate) fn user_view_of(&self, id: UserId) -> UserView {
        self.user_view(self.accounts.user(id).expect("a user that was just changed"))
    }
}
