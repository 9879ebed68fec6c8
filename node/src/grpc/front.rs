//! What all services share: the way to the replicated state, who is behind a session, and the end of the day.

use std::sync::Arc;

use carrel_domain::explain::Explanation;
use carrel_domain::id::{TokenDigest, UserId};
use carrel_domain::query::WaitView;
use carrel_domain::refusal::Refusal;
use carrel_domain::reply::{Answer, ClosureSummary, ImportSummary, Reply};
use carrel_domain::request::{Action, Request};
use carrel_domain::state::State;
use carrel_domain::time::Interval;
use carrel_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::convert::refusal::to_status;
use crate::convert::token::ResumeToken;
use crate::convert::{refusal, reply, request};
use crate::grpc::call::{Call, Mutation};
use crate::grpc::explaining;
use crate::grpc::fair_share::FairShare;
use crate::grpc::library::Library;
use crate::passwords::Passwords;
use crate::projection::reading::{ReadTrouble, Reader};
use crate::replica::{Freshness, View};

/// Who makes accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Everybody, for themselves.
    Open,
    /// Librarians and admins, for others.
    ByStaff,
}

#[derive(Debug)]
pub struct Front<L> {
    pub library: Arc<L>,
    pub passwords: Passwords,
    pub registration: Registration,
    /// Whether this node would send mail if it led; all nodes are given the same.
    pub sends_mail: bool,
    pub fair_share: FairShare,
    /// Older history and reports; none: nobody keeps a record.
    pub record: Option<Reader>,
    /// Cancelled once the node is to go away: streams say so and end.
    pub draining: CancellationToken,
}

impl<L> Clone for Front<L> {
    fn clone(&self) -> Self {
        Self {
            library: self.library.clone(),
            passwords: self.passwords.clone(),
            registration: self.registration,
            sends_mail: self.sends_mail,
            fair_share: self.fair_share.clone(),
            record: self.record.clone(),
            draining: self.draining.clone(),
        }
    }
}

impl<L: Library> Front<L> {
    pub async fn write<M: Mutation>(&self, call: &Call<M>, action: Action) -> Result<Done, Status> {
        self.ask(call, action).await?.done().map_err(to_status)
    }

    /// The answer as it is, for those who have more to say about a refusal.
    pub async fn ask<M: Mutation>(&self, call: &Call<M>, action: Action) -> Result<Decision, Status> {
        let request = call.asking_for(action);
        if call.message.validate_only() {
            return self.try_out(request).await;
        }
        Ok(self.decided(self.library.write(request, call.deadline.remaining()).await?))
    }

    pub fn decided(&self, answer: Answer) -> Decision {
        let commit = Some(reply::commit(&answer, self.library.lineage()));
        Decision { answer, commit }
    }

    /// The very same request, to a state that nobody keeps.
    async fn try_out(&self, request: Request) -> Result<Decision, Status> {
        let view = self.library.read(Freshness::Linearizable).await?;
        let answer = beside(move || view.validate(&request)).await?;
        Ok(Decision { answer, commit: None })
    }

    /// A refusal with everything else that stands against what was wished for, and what could be had instead, as far as
    /// this node can tell: looked up afresh each time, it promises nothing.
    pub async fn unmet<M: Mutation>(
        &self,
        call: &Call<M>,
        refused: Refused,
        interval: Option<Interval>,
        explain: impl FnOnce(&State, UserId) -> Result<Explanation, Refusal>,
    ) -> Status {
        let Refused { refusal, index } = refused;
        if refusal == Refusal::RequestIdReused {
            // It says nothing about this wish.
            return to_status(refusal);
        }
        let explanation = async {
            let token = call.session()?;
            let lineage = self.library.lineage();
            let view = self.library.read(Freshness::AtLeast { lineage, index }).await.ok()?;
            let user = view.session_user(token).ok()?;
            explaining::explain(|| explain(&view, user))?.ok()
        };
        match explanation.await {
            Some(explanation) => refusal::unmet(refusal, interval, &explanation),
            // Who asks, or what was named, is the trouble; or there is no time for more.
            None => to_status(refusal),
        }
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

    /// Where older history is.
    pub fn record(&self) -> Result<&Reader, Status> {
        let nowhere = || ReadTrouble::Unreadable("this node knows of no Postgres".into());
        self.record.as_ref().ok_or_else(|| refusal::history_unavailable(&nowhere()))
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

/// What takes milliseconds, which other calls on this thread should not wait for.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| refusal::out_of_order())
}

/// A request that was decided.
#[derive(Debug)]
pub struct Decision {
    answer: Answer,
    /// None: it was only tried.
    commit: Option<v1::CommitInfo>,
}

impl Decision {
    pub fn done(self) -> Result<Done, Refusal> {
        let index = self.commit.as_ref().map(|_| self.answer.at.index);
        Ok(Done { reply: self.answer.result?, commit: self.commit, index })
    }

    /// As [`Decision::done`], with what it takes to say more.
    pub fn granted(self) -> Result<Done, Refused> {
        let index = self.answer.at.index;
        self.done().map_err(|refusal| Refused { refusal, index })
    }
}

/// A request that the rules have not granted.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub refusal: Refusal,
    /// Of the entry that decided it.
    pub index: u64,
}

/// A request that the rules have granted.
#[derive(Debug)]
pub struct Done {
    reply: Reply,
    /// None: it was only tried.
    pub commit: Option<v1::CommitInfo>,
    /// Of the entry that decided it, if there is one.
    pub index: Option<u64>,
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

    pub fn reservations(&self) -> Result<Vec<v1::Reservation>, Status> {
        expected!(&self.reply, Reply::Claims(views) => views.iter().flatten().map(reply::reservation).collect())
    }

    pub fn outcomes(&self) -> Result<Vec<v1::batch_create_reservations_response::Outcome>, Status> {
        expected!(&self.reply, Reply::Claims(views) => views.iter().map(reply::outcome).collect())
    }

    /// Of several wishes, why those were refused that were.
    pub fn refusals(&self) -> Vec<Option<Refusal>> {
        match &self.reply {
            Reply::Claims(views) => views.iter().map(|view| view.as_ref().err().copied()).collect(),
            _ => Vec::new(),
        }
    }

    pub fn wait(&self) -> Result<&WaitView, Status> {
        expected!(&self.reply, Reply::Wait(view) => view)
    }

    pub fn entry(&self) -> Result<Option<v1::WaitlistEntry>, Status> {
        Ok(Some(reply::wait(self.wait()?, None)))
    }

    pub fn closure(&self) -> Result<ClosureSummary, Status> {
        expected!(&self.reply, Reply::Closure(summary) => *summary)
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
            commit: self.commit,
        })
    }
}
