//! Everything that is kept about one person, for them to take away.

use crate::account::Strike;
use crate::claim::Claim;
use crate::id::{Position, UserId};
use crate::query::{ClaimView, ItemView, MessageView, UserView, WaitView};
use crate::refusal::Refusal;
use crate::state::State;
use crate::time::Timestamp;

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
}

/// A log-in, without what it is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    pub expires_at: Timestamp,
}

impl State {
    /// # Errors
    /// If there is no such person any more.
    pub fn export(&self, viewer: UserId) -> Result<Export, Refusal> {
        let user = self.accounts.user(viewer).ok_or(Refusal::UserNotFound)?;
        let sessions = user.sessions.iter().filter_map(|token| self.accounts.sessions.get(token));
        let sessions = sessions.map(|session| SessionView { expires_at: session.expires_at }).collect();
        let everything = |_: &Claim| true;
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
        })
    }
}
