//! Who there is, and who asks.

use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::account::{Role, Session, User};
use crate::id::{TokenDigest, UserId};
use crate::query::{Credentials, Page, UserView, Viewer};
use crate::refusal::Refusal;
use crate::state::State;
use crate::text::{Glob, UserName};

impl State {
    /// The account behind a session that is in force.
    ///
    /// # Errors
    /// `SessionExpired` if there is none.
    pub fn viewer(&self, token: TokenDigest) -> Result<Viewer, Refusal> {
        let (session, user) = self.session_in_force(token)?;
        Ok(Viewer {
            user: self.user_view(user),
            expires_at: session.expires_at,
            unread_count: self.unread_count(user.id),
        })
    }

    /// Who is behind a session that is in force, for reads that need no more: nothing is counted.
    ///
    /// # Errors
    /// `SessionExpired` if there is none.
    pub fn session_user(&self, token: TokenDigest) -> Result<UserId, Refusal> {
        self.session_in_force(token).map(|(_, user)| user.id)
    }

    /// Whether they make accounts for others, where people do not make their own.
    pub fn makes_accounts(&self, token: TokenDigest) -> Result<bool, Refusal> {
        let (_, user) = self.session_in_force(token)?;
        Ok(matches!(user.role, Role::Admin | Role::Librarian(_)))
    }

    fn session_in_force(&self, token: TokenDigest) -> Result<(&Session, &User), Refusal> {
        let session = self.accounts.sessions.get(&token).filter(|session| !session.ended);
        let session = session.ok_or(Refusal::SessionExpired)?;
        let user = self.accounts.user(session.user).ok_or(Refusal::SessionExpired)?;
        Ok((session, user))
    }

    #[must_use]
    pub fn credentials(&self, name: &UserName) -> Option<Credentials> {
        let user = self.accounts.find(name)?;
        Some(Credentials { user: user.id, password: user.password.clone() })
    }

    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.accounts.admin_count > 0
    }

    /// In order of their names, from the first after `after` on.
    #[must_use]
    pub fn users(&self, glob: &Glob, after: Option<&UserName>, limit: usize) -> Page<UserView> {
        let after = after.map(UserName::key);
        let prefix = glob.prefix();
        let first = match &after {
            Some(after) if after.as_str() >= prefix => Excluded(after.as_str()),
            _ => Included(prefix),
        };
        let matching = self
            .accounts
            .names
            .range::<_, str>((first, Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .filter(|(key, _)| glob.matches(key))
            .filter_map(|(_, &id)| self.accounts.user(id))
            .map(|user| self.user_view(user));
        Page::of(matching, limit)
    }

    /// Whether somebody needs an accessible seat.
    #[must_use]
    pub fn needs_accessible(&self, user: UserId) -> bool {
        self.accounts.user(user).is_some_and(|user| user.needs_accessible)
    }

    pub(crate) fn user_view(&self, user: &User) -> UserView {
        let role = match &user.role {
            Role::Patron => Role::Patron,
            Role::Librarian(branches) => {
                Role::Librarian(branches.iter().map(|&id| self.catalog.branch(id).slug.clone()).collect())
            }
            Role::Admin => Role::Admin,
            Role::Auditor => Role::Auditor,
            Role::Kiosk => Role::Kiosk,
        };
        UserView {
            id: user.id,
            name: user.name.clone(),
            role,
            created_at: user.created.time,
            suspended_until: user.suspended_until,
        }
    }

    pub(crate) fn name_of(&self, user: UserId) -> Option<UserName> {
        self.accounts.user(user).map(|user| user.name.clone())
    }
}
