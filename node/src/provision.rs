//! What the leader does unasked, by requests like any other: the first admin, the first catalogue and the key of the
//! codes that seats show, once each, and the local days that the rules need. Every task may run twice, or stop
//! anywhere: the state says what is missing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use carrel_domain::account::PasswordHash;
use carrel_domain::id::BranchId;
use carrel_domain::request::Action;
use carrel_domain::state::State;
use carrel_domain::text::UserName;
use jiff::Timestamp;

use crate::calendar;
use crate::config::NodeConfig;
use crate::convert;
use crate::convert::presence_code;
use crate::live::LiveReplica;
use crate::passwords::Passwords;

/// Between two looks at what is missing when nothing has changed: a local midnight somewhere is not missed by more.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a look that found something to do, and while changes come in.
const LOOK_SOON: Duration = Duration::from_millis(20);

/// What was given on the command line to begin with, read and checked before the node starts.
#[derive(Debug, Default)]
pub struct FirstThings {
    admin: Option<(UserName, PasswordHash)>,
    catalog: Option<Arc<carrel_domain::catalog::Draft>>,
}

impl FirstThings {
    /// # Errors
    /// If a file that was named cannot be read or used.
    pub async fn read(config: &NodeConfig, passwords: &Passwords) -> anyhow::Result<Self> {
        let admin = match &config.first_admin_file {
            Some(file) => Some(read_admin(file, passwords).await?),
            None => None,
        };
        let catalog = match &config.first_catalog_file {
            Some(file) => {
                let wire = crate::catalog::read_file(file, None)?;
                let draft = convert::catalog::to_draft(&wire);
                let draft = draft.map_err(|faults| anyhow::anyhow!("{}: {} faults", file.display(), faults.len()))?;
                Some(Arc::new(draft))
            }
            None => None,
        };
        Ok(Self { admin, catalog })
    }
}

/// A name and a password, as they are in the file of the first admin.
///
/// # Errors
/// If they are not.
pub fn read_credentials(file: &Path) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = text.lines();
    let (Some(name), Some(password)) = (lines.next(), lines.next()) else {
        anyhow::bail!("{} needs a name on its first line and a password on its second", file.display());
    };
    Ok((name.to_owned(), password.to_owned()))
}

async fn read_admin(file: &Path, passwords: &Passwords) -> anyhow::Result<(UserName, PasswordHash)> {
    let (name, password) = read_credentials(file)?;
    let name = UserName::new(&name).with_context(|| format!("the name in {}", file.display()))?;
    let hash = passwords.hash(password).await.context("cannot hash the first admin's password")?;
    Ok((name, hash))
}

/// Runs for as long as the node does; acts only while it leads.
pub async fn run(replica: LiveReplica, first: FirstThings) {
    let leadership = replica.leadership();
    let mut changes = replica.changes();
    let mut seen = None;
    let mut refused = None;
    loop {
        let mut pause = LOOK_EVERY;
        if leadership.get().is_some() {
            let view = replica.view();
            // Nothing that matters here changes without the catalogue, the admins, the key or the hour.
            let has_key = view.presence_key().is_some();
            let key = (view.catalog().revision, view.has_admin(), has_key, view.at().time.0 / HOUR_US);
            // What is refused while nothing has changed will be refused again: the admin's name may be taken.
            let is_refused = refused.is_some_and(|(at, when): (_, Instant)| at == key && when.elapsed() < LOOK_EVERY);
            if seen != Some(key) && !is_refused {
                let wanted = missing(&view, &first);
                if wanted.is_empty() {
                    seen = Some(key);
                } else {
                    pause = LOOK_SOON;
                }
                for action in wanted {
                    match replica.propose_system(action).await {
                        Ok(answer) => {
                            if let Err(refusal) = answer.result {
                                tracing::warn!(?refusal, "what this node was given to begin with is refused");
                                refused = Some((key, Instant::now()));
                            }
                        }
                        Err(error) => {
                            tracing::debug!(%error, "a request of the cluster's own is tried again");
                            break;
                        }
                    }
                }
            }
        } else {
            seen = None;
        }
        let wait = async {
            changes.changed().await;
            tokio::time::sleep(LOOK_SOON).await;
        };
        let _ = tokio::time::timeout(pause, wait).await;
    }
}

const HOUR_US: i64 = 3_600_000_000;

fn missing(view: &State, first: &FirstThings) -> Vec<Action> {
    let mut actions = Vec::new();
    if let (false, Some((name, password))) = (view.has_admin(), &first.admin) {
        let (name, password) = (name.clone(), password.clone());
        actions.push(Action::CreateFirstAdmin { name, password });
    }
    if let (0, Some(draft)) = (view.catalog().revision, &first.catalog) {
        let draft = Box::new(draft.as_ref().clone());
        actions.push(Action::ImportCatalog { draft, expected_revision: Some(0) });
    }
    if view.presence_key().is_none() {
        match presence_code::draw_secret() {
            Ok(secret) => actions.push(Action::SetPresenceKey { secret }),
            Err(error) => tracing::error!(%error, "no key for the codes of seats can be drawn"),
        }
    }
    actions.extend(view.catalog().branches().filter_map(|(id, _)| missing_days(view, id)));
    actions
}

fn missing_days(view: &State, id: BranchId) -> Option<Action> {
    let branch = view.catalog().branch(id);
    let zone = match calendar::zone(branch.time_zone.as_str()) {
        Ok(zone) => zone,
        Err(error) => {
            // Imports are checked where they come in, so this machine knows fewer zones than that one.
            tracing::error!(branch = %branch.slug, %error, "no such time zone here");
            return None;
        }
    };
    let now = Timestamp::from_microsecond(view.at().time.0).ok()?;
    let missing = view.missing_days(id, calendar::domain_date(now.to_zoned(zone).date()));
    // Days in between that are there already come out the same again.
    let (first, last) = (*missing.first()?, *missing.last()?);
    match calendar::expand(view.catalog(), id, first..=last) {
        Ok(days) => Some(Action::FillCalendar { branch: id, hours_revision: branch.hours_revision, days }),
        Err(error) => {
            tracing::error!(branch = %branch.slug, %error, "opening hours cannot be expanded");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use carrel_domain::format::{SnapshotReader, snapshot};
    use carrel_domain::presence::PresenceKey;
    use carrel_domain::request::{At, Request};

    use super::*;

    fn draws_a_key(view: &State) -> bool {
        let wanted = missing(view, &FirstThings::default());
        wanted.iter().any(|action| matches!(action, Action::SetPresenceKey { .. }))
    }

    #[test]
    fn the_key_of_codes_is_drawn_once_and_by_whoever_leads_first() {
        let mut state = State::default();
        assert!(draws_a_key(&state));
        // Two leaders may each have asked for it: the later key is everybody's.
        for action in [missing(&state, &FirstThings::default()), missing(&state, &FirstThings::default())].concat() {
            let at = At { index: state.at().index + 1, time: state.at().time };
            state.apply(at, &Request::system(action)).reply.result.expect("the cluster may");
        }
        assert_eq!(state.presence_key().map(|key| key.revision), Some(2));
        assert!(!draws_a_key(&state));
        // Whoever leads next, from a snapshot, has it already.
        let key: Option<PresenceKey> = state.presence_key().cloned();
        let mut reader = SnapshotReader::default();
        for chunk in snapshot(state) {
            reader.read(&chunk).expect("a whole snapshot");
        }
        let restored = reader.finish().expect("a whole snapshot");
        assert_eq!(restored.presence_key(), key.as_ref());
        assert!(!draws_a_key(&restored));
    }
}
