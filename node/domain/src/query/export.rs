//! Everything that is kept about one person, for them to take away.

use crate::account::{SESSION_DAYS, Session, Strike};
use crate::claim::Claim;
use crate::id::{Position, TokenDigest, UserId};
use crate::mail::Mail;
use crate::query::{AuditSearch, AuditView, ClaimView, ItemView, MessageView, UserView, WaitView};
use crate::refusal::Refusal;
use crate::state::State;
use crate::text::{Slug, UserName};
use crate::time::{DAY_US, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    pub user: UserView,
    pub needs_accessible: bool,
    pub read_up_to: Position,
    pub sessions: Vec<SessionView>,
    pub strikes: Vec<Strike>,
    /// Oldest first, as all that follows.
    pub claims: Vec<ClaimView>,
    pub waits: Vec<WaitView>,
    pub inbox: Vec<ItemView>,
    /// Also those that they sent.
    pub messages: Vec<MessageView>,
    pub blocks: Vec<UserName>,
    /// Branches whose announcements they hear.
    pub follows: Vec<Slug>,
    pub has_calendar_feed: bool,
    pub mail: Option<Mail>,
    /// What is remembered of changes that concern them, as they are told it; the newest of as many as a page has.
    pub audit: Vec<AuditView>,
}

/// Entries of the audit in one export: with all the rest it fits into an answer.
const AUDIT_MAX: usize = 5_000;

/// A log-in. The token is nowhere in the state, and its digest opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    pub session: TokenDigest,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl State {
    /// Where somebody is logged in, oldest first.
    #[must_use]
    pub fn sessions(&self, viewer: UserId) -> Vec<SessionView> {
        let tokens = self.accounts.user(viewer).map_or(&[][..], |user| user.sessions.as_slice());
        let open = tokens.iter().filter_map(|token| Some((*token, self.accounts.sessions.get(token)?)));
        let view = |(session, kept): (TokenDigest, &Session)| SessionView {
            session,
            created_at: kept.expires_at.plus_us(-SESSION_DAYS * DAY_US),
            expires_at: kept.expires_at,
        };
        open.map(view).collect()
    }

    /// # Errors
    /// If there is no such person any more.
    pub fn export(&self, viewer: UserId) -> Result<Export, Refusal> {
        let user = self.accounts.user(viewer).ok_or(Refusal::UserNotFound)?;
        let sessions = self.sessions(viewer);
        let everything = |_: &Claim| true;
        let own_audit = AuditSearch { user: Some(user.name.clone()), limit: AUDIT_MAX, ..AuditSearch::default() };
        let mut claims = self.reservations(viewer, everything, None, usize::MAX).items;
        claims.reverse();
        Ok(Export {
            user: self.user_view(user),
            needs_accessible: user.needs_accessible,
            read_up_to: user.read_up_to,
            sessions,
            strikes: user.strikes.clone(),
            claims,
            waits: self.waits(viewer, None, usize::MAX).items,
            inbox: self.inbox(viewer, Position::default(), usize::MAX).items,
            messages: self.messages(viewer, None, Position::default(), usize::MAX).items,
            blocks: self.blocks(viewer),
            follows: self.followed(viewer),
            has_calendar_feed: self.has_calendar_feed(viewer),
            mail: self.mail_of(viewer).cloned(),
            audit: self.audit(viewer, &own_audit)?.entries,
        })
    }
}
