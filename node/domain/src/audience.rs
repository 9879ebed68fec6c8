//! Who hears what is said to many: everybody, the people of a role, or those who follow a branch. An announcement is
//! stored once for each audience, and a person's inbox is their own stream merged with those of their audiences.
//!
//! Whoever takes a seat in a branch follows it from then on, unless they have said that they do not want to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Role, RoleName, User};
use crate::catalog::BRANCHES_MAX;
use crate::effects::Effects;
use crate::event::Change;
use crate::id::{BranchId, Position, TokenDigest, UserId};
use crate::inbox::{Item, ItemKind, Stream};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::Audience;
use crate::state::State;
use crate::text::{MessageText, Slug};

/// How somebody is reached besides by name. Most people follow a branch or two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The entry that gave them their role, after which they hear what is said to it; 0: the one that made the account.
    pub role_since: u64,
    /// By branch. Invariant: each branch once.
    pub follows: Vec<Follow>,
    /// What the address of their calendar is recognised by.
    pub feed: Option<TokenDigest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    pub branch: BranchId,
    /// What was said before this entry was not said to them.
    pub since: u64,
    /// They have said that they do not want to hear it.
    pub muted: bool,
}

impl State {
    pub(crate) fn reach(&self, user: UserId) -> Option<&Reach> {
        self.reaches.get(&user).map(Arc::as_ref)
    }

    fn change_reach(&mut self, user: UserId, fx: &mut Effects, change: impl FnOnce(&mut Reach)) {
        let mut reach = self.reaches.get(&user).cloned().unwrap_or_default();
        change(Arc::make_mut(&mut reach));
        self.reaches.insert(user, reach);
        fx.happened(Change::ReachChanged { user });
    }

    /// The streams that somebody hears besides their own, and the position behind which.
    pub(crate) fn heard_by<'a>(&'a self, user: &'a User) -> impl Iterator<Item = (Stream, Position)> + 'a {
        let reach = self.reach(user.id);
        let created = user.created.index;
        let role_since = reach.map_or(created, |reach| reach.role_since.max(created));
        let follows = reach.map_or(&[][..], |reach| reach.follows.as_slice());
        let runs = match &user.role {
            Role::Librarian(branches) => branches.as_slice(),
            Role::Patron | Role::Admin | Role::Auditor | Role::Kiosk => &[],
        };
        let by_role = runs.iter().filter(move |&&branch| !follows.iter().any(|follow| follow.branch == branch));
        let audible = follows.iter().filter(|follow| !follow.muted);
        [(Stream::Everyone, created), (Stream::Role(user.role.name()), role_since)]
            .into_iter()
            .chain(audible.map(|follow| (Stream::Branch(follow.branch), follow.since)))
            .chain(by_role.map(move |&branch| (Stream::Branch(branch), role_since)))
            .map(|(stream, since)| (stream, Position::end_of(since)))
    }

    /// Of whoever gets another role: what was said to it before was not said to them.
    pub(crate) fn hears_as_of_now(&mut self, user: UserId, fx: &mut Effects) {
        let now = fx.at().index;
        self.change_reach(user, fx, |reach| reach.role_since = now);
    }

    /// Of whoever takes a seat in a branch.
    pub(crate) fn follow(&mut self, user: UserId, branch: BranchId, fx: &mut Effects) {
        let follows = self.reach(user).map_or(&[][..], |reach| reach.follows.as_slice());
        if follows.len() >= BRANCHES_MAX || follows.iter().any(|follow| follow.branch == branch) {
            return;
        }
        let since = fx.at().index;
        self.change_reach(user, fx, |reach| reach.follows.push(Follow { branch, since, muted: false }));
    }

    /// These branches and no others.
    pub(crate) fn set_followed(&mut self, by: UserId, branches: &[Slug], fx: &mut Effects) -> Result<Reply, Refusal> {
        self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let find = |slug: &Slug| self.catalog.find_branch(slug.as_str()).ok_or(Refusal::BranchNotFound);
        let mut wanted = branches.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        let now = fx.at().index;
        let mut follows = self.reach(by).map(|reach| reach.follows.clone()).unwrap_or_default();
        for follow in &mut follows {
            let is_wanted = wanted.contains(&follow.branch);
            if is_wanted && follow.muted {
                follow.since = now;
            }
            follow.muted = !is_wanted;
        }
        wanted.retain(|branch| !follows.iter().any(|follow| follow.branch == *branch));
        follows.extend(wanted.into_iter().map(|branch| Follow { branch, since: now, muted: false }));
        if self.reach(by).map_or(&[][..], |reach| reach.follows.as_slice()) != follows {
            self.change_reach(by, fx, |reach| reach.follows = follows);
        }
        Ok(Reply::Done)
    }

    /// Whose announcements somebody hears.
    #[must_use]
    pub fn followed(&self, viewer: UserId) -> Vec<Slug> {
        let follows = self.reach(viewer).map_or(&[][..], |reach| reach.follows.as_slice());
        let audible = follows.iter().filter(|follow| !follow.muted);
        audible.map(|follow| self.catalog.branch(follow.branch).slug.clone()).collect()
    }

    pub(crate) fn announce(
        &mut self,
        by: UserId,
        audience: &Audience,
        text: &MessageText,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let role = &self.accounts.user(by).ok_or(Refusal::SessionExpired)?.role;
        let stream = match audience {
            Audience::Branch(slug) => {
                let branch = self.catalog.find_branch(slug.as_str());
                // Others are not told whether it exists.
                let branch = branch.filter(|&branch| role.runs_branch(branch));
                Stream::Branch(branch.ok_or(if *role == Role::Admin {
                    Refusal::BranchNotFound
                } else {
                    Refusal::NotPermitted
                })?)
            }
            Audience::Role(name) if *role == Role::Admin => Stream::Role(*name),
            Audience::Role(_) => return Err(Refusal::NotPermitted),
        };
        let position = fx.next_position();
        let kind = ItemKind::Announcement { sender: by, text: text.clone() };
        let item = Arc::new(Item { at: fx.at(), kind });
        self.append(stream, position, item.clone(), fx);
        Ok(Reply::Message(self.message_view(stream, position, &item)))
    }

    /// The address of somebody's calendar, recognised by the digest of a token that was drawn at the edge: another one
    /// makes the address before it worthless.
    pub(crate) fn set_calendar_feed(
        &mut self,
        by: UserId,
        token: Option<TokenDigest>,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        self.accounts.user(by).ok_or(Refusal::SessionExpired)?;
        let before = self.reach(by).and_then(|reach| reach.feed);
        if before == token {
            return Ok(Reply::Done);
        }
        // Tokens are drawn at random: one that is somebody else's was not drawn.
        if token.is_some_and(|token| self.feeds.contains_key(&token)) {
            return Err(Refusal::NotPermitted);
        }
        if let Some(before) = before {
            self.feeds.remove(&before);
        }
        if let Some(token) = token {
            self.feeds.insert(token, by);
        }
        self.change_reach(by, fx, |reach| reach.feed = token);
        Ok(Reply::Done)
    }

    /// Whose calendar it is.
    #[must_use]
    pub fn calendar_of(&self, token: TokenDigest) -> Option<UserId> {
        self.feeds.get(&token).copied()
    }

    #[must_use]
    pub fn has_calendar_feed(&self, viewer: UserId) -> bool {
        self.reach(viewer).is_some_and(|reach| reach.feed.is_some())
    }

    pub(crate) fn drop_reach(&mut self, user: UserId) {
        if let Some(feed) = self.reaches.remove(&user).and_then(|reach| reach.feed) {
            self.feeds.remove(&feed);
        }
    }
}

impl Role {
    #[must_use]
    pub const fn name(&self) -> RoleName {
        match self {
            Self::Patron => RoleName::Patron,
            Self::Librarian(_) => RoleName::Librarian,
            Self::Admin => RoleName::Admin,
            Self::Auditor => RoleName::Auditor,
            Self::Kiosk => RoleName::Kiosk,
        }
    }
}
