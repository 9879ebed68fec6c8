//! What all services share: the way to the replicated state, who is behind a session, and the end of the day.

use std::sync::Arc;

use carrel_domain::id::{TokenDigest, UserId};
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, ImportSummary, Reply};
use carrel_domain::request::Action;
use carrel_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::convert::refusal::to_status;
use crate::convert::token::ResumeToken;
use crate::convert::{refusal, reply, request};
use crate::grpc::call::{Call, Mutation};
use crate::grpc::fair_share::FairShare;
use crate::grpc::library::Library;
use crate::passwords::Passwords;
use crate::replica::{Freshness, View};

#[derive(Debug)]
pub struct Front<L> {
    pub library: Arc<L>,
    pub passwords: Passwords,
    pub fair_share: FairShare,
    /// Cancelled once the node is to go away: streams say so and end.
    pub draining: CancellationToken,
}

impl<L> Clone for Front<L> {
    fn clone(&self) -> Self {
        Self {
            library: self.library.clone(),
            passwords: self.passwords.clone(),
            fair_share: self.fair_share.clone(),
            draining: self.draining.clone(),
        }
    }
}

impl<L: Library> Front<L> {
    pub async fn write<M: Mutation>(&self, call: &Call<M>, action: Action) -> Result<Done, Status> {
        let answer = self.ask(call, action).await?;
        self.done(answer).map_err(to_status)
    }

    /// The answer as it is, for those who have more to say about a refusal.
    pub async fn ask<M: Mutation>(&self, call: &Call<M>, action: Action) -> Result<Answer, Status> {
        Ok(self.library.write(call.asking_for(action), call.deadline.remaining()).await?)
    }

    pub fn done(&self, answer: Answer) -> Result<Done, Refusal> {
        let commit = reply::commit(&answer, self.library.lineage());
        Ok(Done { reply: answer.result?, commit })
    }

    pub async fn read(&self, read: Option<v1::ReadOptions>) -> Result<View, Status> {
        Ok(self.library.read(request::freshness(read)?).await?)
    }

    /// A view, and who looks at it. The session is judged on the view itself: it may have been revoked just before.
    pub async fn read_as(&self, session: TokenDigest, read: Option<v1::ReadOptions>) -> Result<(View, UserId), Status> {
        let view = self.read(read).await?;
        let user = view.session_user(session).map_err(to_status)?;
        Ok((view, user))
    }

    /// A view that has seen the token's position, given one that may not have.
    pub async fn reach(&self, view: View, token: ResumeToken) -> Result<View, Status> {
        let ResumeToken { lineage, position } = token;
        if lineage == self.library.lineage() && position.index <= view.at().index {
            return Ok(view);
        }
        Ok(self.library.read(Freshness::AtLeast { lineage, index: position.index }).await?)
    }
}

/// A request that the rules have granted.
#[derive(Debug)]
pub struct Done {
    reply: Reply,
    pub commit: v1::CommitInfo,
}

/// A reply of another kind than the action has can only be the record of another request: then its id was used twice.
macro_rules! expected {
    ($reply:expr, $pattern:pat => $value:expr) => {
        match $reply {
            $pattern => Ok($value),
            Reply::Done
            | Reply::User(_)
            | Reply::Session { .. }
            | Reply::Catalog(_)
            | Reply::Claim(_)
            | Reply::Wait(_)
            | Reply::Message(_)
            | Reply::Unread { .. }
            | Reply::Claims(_)
            | Reply::Closure(_) => Err(refusal::to_status(Refusal::RequestIdReused)),
        }
    };
}

#[allow(unreachable_patterns, reason = "the kind that is expected is named once more among all kinds")]
impl Done {
    pub fn user(&self) -> Result<Option<v1::User>, Status> {
        expected!(&self.reply, Reply::User(view) => Some(reply::user(view)))
    }

    pub fn reservation(&self) -> Result<Option<v1::Reservation>, Status> {
        expected!(&self.reply, Reply::Claim(view) => Some(reply::reservation(view)))
    }

    pub fn entry(&self) -> Result<Option<v1::WaitlistEntry>, Status> {
        expected!(&self.reply, Reply::Wait(view) => Some(reply::wait(view)))
    }

    pub fn message(&self) -> Result<v1::Message, Status> {
        expected!(&self.reply, Reply::Message(view) => reply::message(view))
    }

    pub fn unread_count(&self) -> Result<i32, Status> {
        expected!(&self.reply, Reply::Unread { count } => reply::count(*count))
    }

    pub fn import(&self) -> Result<ImportSummary, Status> {
        expected!(&self.reply, Reply::Catalog(summary) => *summary)
    }

    pub fn login(self, session_token: String) -> Result<v1::LoginResponse, Status> {
        expected!(self.reply, Reply::Session { user, expires_at, unread_count } => v1::LoginResponse {
            user: Some(reply::user(&user)),
            session_token,
            expire_time: Some(crate::convert::time::to_timestamp(expires_at)),
            unread_count: reply::count(unread_count),
            commit: Some(self.commit),
        })
    }
}
