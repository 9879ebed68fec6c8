//! What a client command works with: the client, the session, and where its answer goes.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use carrel_proto::client::{Client, ClientError, InvalidEndpoint, Options, Tls};
use carrel_proto::v1;
use indicatif::ProgressBar;
use jiff::tz::TimeZone;
use prost::{Message, Name};

use super::errors::Failure;
use super::pages::Page;
use super::session::Store;
use super::{Globals, Output, json};
use crate::traces;

/// What takes longer is shown to be under way.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Context {
    client: Client,
    /// The first that was given.
    endpoint: String,
    output: Output,
    tls: Option<Tls>,
    pub(super) store: Store,
    zones: OnceCell<Zones>,
    /// What the command is about: anything in a branch, or a reservation.
    subject: OnceCell<String>,
}

/// The time zones of the branches, by resource name.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    branches: Vec<(String, TimeZone)>,
}

impl Context {
    pub(super) fn new(globals: Globals) -> Result<Context, Failure> {
        let deadline = Duration::from_secs(globals.timeout.into());
        let client = client(&globals, Options { deadline, ..Options::default() })?;
        let tls = tls(&globals)?;
        let endpoint = globals.endpoints().into_iter().next().unwrap_or_default();
        let store = Store::new(globals.config)?;
        Ok(Context {
            client,
            endpoint,
            output: globals.output,
            tls,
            store,
            zones: OnceCell::new(),
            subject: OnceCell::new(),
        })
    }

    /// Acts for nobody.
    pub(super) fn anonymous(&self) -> Client {
        self.client.clone()
    }

    /// Acts for whoever is logged in; without a session the cluster says what that is worth.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        match self.store.load()? {
            Some(session) => {
                self.client.clone().with_session(&session.token).map_err(|_| self.store.unreadable("holds no token"))
            }
            None => Ok(self.client.clone()),
        }
    }

    /// Of a node, to be typed elsewhere.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Waits for a call, visibly if it takes long.
    pub(super) async fn wait<T>(&self, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
        let mut call = std::pin::pin!(call);
        let result = match tokio::time::timeout(PATIENCE, &mut call).await {
            Ok(result) => result,
            Err(_) => {
                // Draws on standard error, and only if that is a terminal.
                let spinner = ProgressBar::new_spinner().with_message("waiting for an answer");
                spinner.enable_steady_tick(Duration::from_millis(100));
                let result = call.await;
                spinner.finish_and_clear();
                result
            }
        };
        let numbered = |failure: Failure| match self.subject.get() {
            Some(name) if name.starts_with("reservations/") => failure.with_number(super::names::id(name)),
            _ => failure,
        };
        match result.map_err(Failure::from).map_err(numbered) {
            // Times are told on the clock of the branch that it is about, as everything else is.
            Err(failure) if failure.has_times() && !self.is_json() => {
                let zones = self.zones_if_known().await;
                let place = self.place().await;
                let named: Vec<&str> = failure.seats().into_iter().chain(place.as_deref()).collect();
                let clock = zones.shared_by(named.into_iter());
                Err(failure.on_the_clock(clock))
            }
            result => result,
        }
    }

    /// Says what the command is about, so that what goes wrong is told on the clock of that branch.
    pub(super) fn is_about(&self, name: &str) {
        // The first that is said: what else a command names lies beside it.
        let _ = self.subject.set(name.to_owned());
    }

    /// Something in the branch that the command is about. Asked for in a refusal, where another failure would be one
    /// too many.
    async fn place(&self) -> Option<String> {
        let subject = self.subject.get()?;
        if !subject.starts_with("reservations/") {
            return Some(subject.clone());
        }
        let request = v1::GetReservationRequest { name: subject.clone(), read: None };
        let response = self.client().ok()?.get_reservation(request).await.ok()?;
        response.reservation.map(|reservation| reservation.seat)
    }

    /// The one answer of a command.
    pub(super) fn answer<M: Message + Name>(&self, response: &M, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.output {
            Output::Table => print(&text()),
            Output::Json => print(&json::document(response).to_string()),
        }
    }

    /// A remark for people beside the answer.
    pub(super) fn remark(&self, text: &str) {
        if !self.is_json() {
            // A remark nobody can read is no reason to fail.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// Says so if a list was too long to be shown whole.
    pub(super) fn remark_if_cut(&self, list: &impl Page) {
        if !list.next_page_token().is_empty() {
            self.remark(&format!("Only the first {} are shown.", list.row_count()));
        }
    }

    /// The zone of a branch, which must exist.
    pub(super) async fn zone_of(&self, branch: &str) -> Result<TimeZone, Failure> {
        let zones = self.zones().await?;
        zones.of(branch).cloned().ok_or_else(|| {
            let known: Vec<&str> = zones.branches.iter().map(|(name, _)| super::names::id(name)).collect();
            let known =
                if known.is_empty() { "there is none yet".into() } else { format!("known: {}", known.join(", ")) };
            Failure::refused(
                tonic::Code::NotFound,
                "BRANCH_NOT_FOUND",
                format!("there is no branch {}; {known}", super::names::short(branch)),
            )
        })
    }

    /// The zones to show times in; none, so UTC, if nobody will see them or they cannot be had.
    pub(super) async fn zones_for_text(&self) -> &Zones {
        const NONE: &Zones = &Zones { branches: Vec::new() };
        if self.is_json() { NONE } else { self.zones().await.unwrap_or(NONE) }
    }

    /// Asked for in a refusal, where another failure would be one too many.
    async fn zones_if_known(&self) -> Zones {
        if let Some(zones) = self.zones.get() {
            return zones.clone();
        }
        let branches = self.client.list_branches(v1::ListBranchesRequest::default()).await;
        branches.map(|response| Zones::new(&response.branches)).unwrap_or_default()
    }

    async fn zones(&self) -> Result<&Zones, Failure> {
        if let Some(zones) = self.zones.get() {
            return Ok(zones);
        }
        let branches = self.wait(self.client.list_branches(v1::ListBranchesRequest::default())).await?.branches;
        Ok(self.zones.get_or_init(|| Zones::new(&branches)))
    }
}

/// To the endpoints that were given, by TLS if they say so.
pub(super) fn client(globals: &Globals, options: Options) -> Result<Client, Failure> {
    let client = connect(globals.endpoints(), options, tls(globals)?.as_ref(), "--endpoints")?;
    Ok(match traces::outgoing_of_command() {
        Some(trace) => client.with_trace(trace),
        None => client,
    })
}

/// Whom to trust and what to show, as it was given.
pub(super) fn tls(globals: &Globals) -> Result<Option<Tls>, Failure> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|source| Failure::Local { doing: format!("reading {}", file.display()), source })
    };
    let Some(ca) = &globals.ca else { return Ok(None) };
    let tls = Tls::trusting(read(ca)?);
    Ok(Some(match (&globals.cert, &globals.key) {
        (Some(certificate), Some(key)) => tls.showing(read(certificate)?, read(key)?),
        _ => tls,
    }))
}

/// To addresses that were given with `option`.
pub(super) fn connect<E: AsRef<str>>(
    urls: impl IntoIterator<Item = E>,
    options: Options,
    tls: Option<&Tls>,
    option: &str,
) -> Result<Client, Failure> {
    let client = match tls {
        None => Client::new(urls, options),
        Some(tls) => Client::secured(urls, options, tls),
    };
    client.map_err(|error| match error {
        InvalidEndpoint::NoAuthority { .. } => Failure::Usage(format!("{option}: {error}: name it with --ca FILE")),
        // Whom to trust may be set for every command, and says nothing of this address.
        InvalidEndpoint::Plain { url } => Failure::Usage(format!(
            "{option}: {url} is http://, and --ca asks for TLS, which nothing falls back from: name https:// addresses \
             with {option}, or leave --ca (CARREL_CA) out"
        )),
        InvalidEndpoint::Tls { .. } => Failure::Usage(format!("--ca, --cert, --key: {error}")),
        other => Failure::Usage(format!("{option}: {other}")),
    })
}

impl Zones {
    pub(super) fn new(branches: &[v1::BranchSummary]) -> Zones {
        // A zone this computer does not know is shown as UTC rather than not at all.
        let zone = |name: &str| TimeZone::get(name).unwrap_or(TimeZone::UTC);
        Zones { branches: branches.iter().map(|branch| (branch.name.clone(), zone(&branch.time_zone))).collect() }
    }

    /// Of a branch or of anything in it: `branches/main/seats/r-101`.
    pub(super) fn of(&self, name: &str) -> Option<&TimeZone> {
        let inside =
            |branch: &str| name.strip_prefix(branch).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.branches.iter().find(|(branch, _)| inside(branch)).map(|(_, zone)| zone)
    }

    /// The one that all branches have, if they have.
    pub(super) fn only(&self) -> Option<&TimeZone> {
        let (_, first) = self.branches.first()?;
        self.branches.iter().all(|(_, zone)| zone == first).then_some(first)
    }

    /// One clock for all that is shown together: of the zone that all of these are in, or else that all branches have,
    /// or else of this computer.
    pub(super) fn shared_by<'a>(&self, names: impl Iterator<Item = &'a str>) -> TimeZone {
        let mut known = names.filter_map(|name| self.of(name));
        let shared = known.next().filter(|first| known.all(|other| other == *first));
        shared.or(self.only()).cloned().unwrap_or_else(TimeZone::system)
    }

    pub(super) fn of_or_utc(&self, name: &str) -> TimeZone {
        self.of(name).cloned().unwrap_or(TimeZone::UTC)
    }
}

/// One line or more to standard output, at once.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(|source| {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Failure::NobodyListens
        } else {
            Failure::Local { doing: "writing the answer".into(), source }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_a_branch_has_its_zone() {
        let branch = |name: &str, zone: &str| v1::BranchSummary {
            name: name.into(),
            time_zone: zone.into(),
            ..Default::default()
        };
        let zones = Zones::new(&[branch("branches/law", "Europe/Berlin"), branch("branches/law-2", "America/Chicago")]);
        let name = |of: &str| zones.of(of).and_then(TimeZone::iana_name);
        assert_eq!(name("branches/law"), Some("Europe/Berlin"));
        assert_eq!(name("branches/law/seats/a"), Some("Europe/Berlin"));
        assert_eq!(name("branches/law-2/areas/b"), Some("America/Chicago"));
        assert_eq!(name("branches/la"), None);
        let shared = |names: &[&str]| zones.shared_by(names.iter().copied());
        let one = shared(&["branches/law/seats/a", "branches/law", "reservations/1"]);
        assert_eq!(one.iana_name(), Some("Europe/Berlin"));
        assert_eq!(shared(&["branches/law", "branches/law-2"]), TimeZone::system());
    }
}
