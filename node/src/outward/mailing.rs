//! Mail: whom to send what next, and the way to the mail server. A server that is away, or does not want this node, is
//! tried again later with everything that there is; a mail that it refuses for good is given up; one that it refuses
//! for now waits by itself, and the others pass it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carrel_domain::id::UserId;
use carrel_domain::mail::{MailDue, MailSent};
use carrel_domain::state::State;
use futures_util::future::join_all;
use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::{Instant, sleep, timeout};

use crate::outward::letters::letter;
use crate::outward::{Backoff, BeginError, Channel, Delivery, LOOK_SOON, MailSettings, Outward};

/// Connections to the mail server at once.
const AT_ONCE: usize = 4;
/// A connection, its handshake and one mail.
const SEND_LIMIT: Duration = Duration::from_secs(60);
/// Of a server that is away.
const AWAY: Backoff = Backoff { first: Duration::from_secs(1), last: Duration::from_secs(60) };
/// Of one mail that is refused for now: greylisting ends after some minutes.
const REFUSED: Backoff = Backoff { first: Duration::from_secs(30), last: Duration::from_secs(3600) };
/// Nothing is longer due without anybody looking: a change is noticed at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The way to the mail server.
#[derive(Debug)]
pub(super) struct Post {
    settings: MailSettings,
    from: Mailbox,
}

/// What became of a mail.
#[derive(Debug)]
enum Outcome {
    Sent,
    /// For good.
    Refused(String),
    RefusedForNow(String),
    /// It is not about this mail.
    Away(String),
}

impl Post {
    pub fn new(settings: MailSettings) -> Result<Self, BeginError> {
        let from = settings.from.parse().map_err(BeginError::Sender)?;
        Ok(Self { settings, from })
    }

    /// By what the file says now.
    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
        let file = &self.settings.url_file;
        let url = tokio::fs::read_to_string(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
        // What the URL has in it is not to be logged.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.trim());
        let builder = builder.map_err(|_| format!("{} holds no address of a mail server", file.display()))?;
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        Ok(builder.hello_name(hello).timeout(Some(SEND_LIMIT)).build())
    }

    async fn send(&self, outward: &Outward, view: &State, user: UserId, due: &MailDue) -> Outcome {
        let transport = match self.transport().await {
            Ok(transport) => transport,
            Err(trouble) => return Outcome::Away(trouble),
        };
        let id = format!("{}.{}.{}@{}.carrel.dev", id_of(due), user.0, outward.lineage, outward.cluster);
        let message = match letter(view, user, due, &self.from, &id) {
            Ok(message) => message,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        match timeout(SEND_LIMIT, transport.send(message)).await {
            Ok(Ok(_)) => Outcome::Sent,
            Ok(Err(error)) => judged(&transport, error).await,
            Err(_) => Outcome::Away("the mail server takes too long".to_owned()),
        }
    }
}

/// Whether a failure is about the mail, or about this node and the server.
async fn judged(transport: &AsyncSmtpTransport<Tokio1Executor>, error: smtp::Error) -> Outcome {
    if !error.is_permanent() && !error.is_transient() {
        return Outcome::Away(told(&error));
    }
    // A server that greets with a refusal, or does not know this node's password, refuses no mail.
    match timeout(SEND_LIMIT, transport.test_connection()).await {
        Ok(Ok(true)) if error.is_permanent() => Outcome::Refused(told(&error)),
        Ok(Ok(true)) => Outcome::RefusedForNow(told(&error)),
        Ok(Ok(false) | Err(_)) | Err(_) => Outcome::Away(told(&error)),
    }
}

/// With what is behind it.
fn told(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    text
}

/// The same whenever it is sent: where it stands in the log.
fn id_of(due: &MailDue) -> String {
    match &due.what {
        carrel_domain::mail::MailContent::Code(_) => format!("code.{}", due.at.index),
        carrel_domain::mail::MailContent::Item(item) => format!("{}.{}", item.position.index, item.position.ordinal),
    }
}

/// Whom there may be something for, and what was tried.
#[derive(Debug, Default)]
struct Readers {
    /// Everybody for whom there is something, and others.
    people: BTreeSet<UserId>,
    /// The entry up to which everybody with news is among them.
    seen: u64,
    /// What was sent and is perhaps not noted yet.
    sent: BTreeMap<UserId, MailSent>,
    refused: BTreeMap<UserId, (u32, Instant)>,
}

impl Readers {
    fn look(&mut self, view: &State) {
        self.people.extend(view.mail_codes_due());
        for person in view.told_after(self.seen) {
            match person {
                Some(user) if view.mail_of(user).is_some() => {
                    self.people.insert(user);
                }
                Some(_) => {}
                None => self.people.extend(view.mail_readers()),
            }
        }
        self.seen = view.at().index;
    }

    /// What may be sent now, one mail for each.
    fn batch(&mut self, view: &State) -> Vec<(UserId, MailDue)> {
        let now = Instant::now();
        let mut batch = Vec::new();
        let mut done = Vec::new();
        for &user in &self.people {
            if self.refused.get(&user).is_some_and(|(_, until)| now < *until) {
                continue;
            }
            match view.mail_due(user, self.sent.get(&user).copied()) {
                Some(due) => batch.push((user, due)),
                None => done.push(user),
            }
            if batch.len() == AT_ONCE {
                break;
            }
        }
        for user in done {
            self.people.remove(&user);
            self.refused.remove(&user);
            // What was noted is in the state.
            let is_noted = |sent: &MailSent| match (sent, view.mail_of(user)) {
                (MailSent::Through { position, .. }, Some(mail)) => mail.through >= *position,
                (MailSent::Code { .. }, _) | (_, None) => false,
            };
            if self.sent.get(&user).is_some_and(is_noted) {
                self.sent.remove(&user);
            }
        }
        batch
    }
}

/// Sends for as long as it is polled.
pub(super) async fn run(outward: &Outward, post: Option<&Post>) {
    let Some(post) = post else { return std::future::pending().await };
    let mut changes = outward.replica.changes();
    let first = outward.replica.view();
    let mut readers = Readers { people: first.mail_readers().collect(), seen: first.at().index, ..Readers::default() };
    drop(first);
    let mut failures = 0;
    loop {
        let view = outward.replica.view();
        readers.look(&view);
        let batch = readers.batch(&view);
        if batch.is_empty() {
            drop(view);
            let _ = timeout(LOOK_EVERY, changes.changed()).await;
            sleep(LOOK_SOON).await;
            continue;
        }
        let limit = view.at().time.plus_us(-outward.give_up_after_us);
        let outcomes = join_all(batch.iter().map(|(user, due)| async {
            if due.at.time <= limit {
                return Outcome::Refused("it is too old".to_owned());
            }
            post.send(outward, &view, *user, due).await
        }));
        let mut away = None;
        for ((user, due), outcome) in batch.iter().zip(outcomes.await) {
            let is_given_up = matches!(outcome, Outcome::Refused(_));
            match outcome {
                Outcome::Sent | Outcome::Refused(_) => {
                    if let Outcome::Refused(why) = &outcome {
                        tracing::warn!(user = user.0, why, "a mail is given up");
                    }
                    outward.count(Channel::Mail, if is_given_up { Delivery::GivenUp } else { Delivery::Sent });
                    let mark = due.mark(*user, is_given_up);
                    readers.sent.insert(*user, mark.sent);
                    readers.refused.remove(user);
                    outward.ledger.mail(mark);
                }
                Outcome::RefusedForNow(why) => {
                    outward.count(Channel::Mail, Delivery::Failed);
                    let (count, until) = readers.refused.entry(*user).or_insert((0, Instant::now()));
                    *count += 1;
                    *until = Instant::now() + REFUSED.after(*count);
                    tracing::debug!(user = user.0, why, "a mail is refused for now");
                }
                Outcome::Away(why) => {
                    outward.count(Channel::Mail, Delivery::Failed);
                    away = Some(why);
                }
            }
        }
        match away {
            None => failures = 0,
            Some(why) => {
                failures += 1;
                tracing::warn!(why, failures, "no mail can be sent, it is tried again");
                sleep(AWAY.after(failures)).await;
            }
        }
    }
}
