//! How a command fails: what is said, and with which exit code.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use carrel_proto::client::{ClientError, Refusal, Unreachable};
use carrel_proto::v1;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tonic::Code;

use super::Output;
use super::names::short;
use super::table::plain;
use super::time::{shown_interval, shown_moment};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// By the rules. `advice` is what to do next, a line each.
    #[error("{refusal}")]
    Refused { refusal: Box<Refusal>, advice: Vec<String>, clock: Option<TimeZone> },
    #[error("{unreachable}")]
    Unreachable { unreachable: Unreachable, advice: Vec<String> },
    #[error("{0}")]
    Usage(String),
    #[error("{doing}")]
    Local { doing: String, source: io::Error },
    /// A node, a demo or a bench that cannot go on.
    #[error("{0:#}")]
    Failed(anyhow::Error),
    /// Whoever read the answer has gone: no reason to complain, nobody would hear it.
    #[error("nobody reads the answer")]
    NobodyListens,
}

/// `{"error":{...}}`
#[derive(Serialize)]
struct Document<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    reason: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alternatives: Vec<&'a str>,
    /// The alternatives with their times.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

/// Of several that were not met.
#[derive(Serialize)]
struct Rule<'a> {
    reason: &'a str,
    message: &'a str,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused(refusal) => {
                let advice = general_advice(&refusal);
                Failure::Refused { refusal: Box::new(refusal), advice, clock: None }
            }
            ClientError::Unreachable(unreachable) => Failure::Unreachable { unreachable, advice: Vec::new() },
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Failure {
        let text = error.render().to_string();
        Failure::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        match error.downcast::<ClientError>() {
            Ok(error) => error.into(),
            Err(error) => error.downcast().unwrap_or_else(Failure::Failed),
        }
    }
}

impl Failure {
    /// A refusal that needs no cluster.
    pub(super) fn refused(code: Code, reason: &str, message: String) -> Failure {
        let (metadata, alternatives, options, rules) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        let reason = reason.into();
        ClientError::Refused(Refusal { code, reason, message, metadata, alternatives, options, rules }).into()
    }

    /// Whether it tells of times that are those of a branch.
    pub(super) fn has_times(&self) -> bool {
        let Failure::Refused { refusal, .. } = self else { return false };
        !refusal.options.is_empty() || !refusal.rules.is_empty() || moments_in(&refusal.message).next().is_some()
    }

    /// What could be had instead, by name.
    pub(super) fn seats(&self) -> Vec<&str> {
        let Failure::Refused { refusal, .. } = self else { return Vec::new() };
        refusal.options.iter().filter_map(|option| option.seat.as_ref()).map(|seat| seat.name.as_str()).collect()
    }

    pub(super) fn on_the_clock(mut self, zone: TimeZone) -> Failure {
        if let Failure::Refused { clock, .. } = &mut self {
            *clock = Some(zone);
        }
        self
    }

    /// Puts the number of the reservation in what can be typed next.
    pub(super) fn with_number(mut self, number: &str) -> Failure {
        if let Failure::Refused { advice, .. } = &mut self {
            advice.iter_mut().for_each(|line| *line = line.replace("NUMBER", number));
        }
        self
    }

    /// Says it in other words, where the command knows more than the cluster told.
    pub(super) fn reword(mut self, reason: &str, words: impl FnOnce(&Refusal) -> Option<String>) -> Failure {
        if let Failure::Refused { refusal, .. } = &mut self
            && refusal.reason == reason
            && let Some(message) = words(refusal)
        {
            refusal.message = message;
        }
        self
    }

    /// Adds what to do next, where the command knows better than the reason alone.
    pub(super) fn advise(mut self, lines: impl FnOnce(&Refusal) -> Vec<String>) -> Failure {
        if let Failure::Refused { refusal, advice, .. } = &mut self {
            advice.extend(lines(refusal));
        }
        self
    }

    /// Adds how to find out whether the request was done after all.
    pub(super) fn advise_if_in_doubt(mut self, line: impl FnOnce() -> String) -> Failure {
        if let Failure::Unreachable { unreachable, advice } = &mut self
            && unreachable.in_doubt
        {
            advice.push(line());
        }
        self
    }

    /// Adds where else to look, where the command knows better than the general word.
    pub(super) fn advise_if_unreachable(mut self, line: &str) -> Failure {
        if let Failure::Unreachable { advice, .. } = &mut self {
            advice.push(line.to_owned());
        }
        self
    }

    pub(super) fn report(&self, output: Output) -> ExitCode {
        let text = match output {
            Output::Table => self.text(),
            Output::Json => self.json(),
        };
        if let Some(text) = text {
            // If standard error is gone too, the exit code still tells.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
        self.exit_code()
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::NobodyListens => 0,
            Failure::Refused { refusal, .. } if IS_USAGE.contains(&refusal.reason.as_str()) => 2,
            Failure::Refused { .. } | Failure::Local { .. } | Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable { .. } => 3,
        })
    }

    fn text(&self) -> Option<String> {
        self.lines().map(|lines| format!("\x1b[1;31merror:\x1b[0m {}", lines.join("\n")))
    }

    /// The same in the middle of something that goes on.
    pub(super) fn told(&self) -> String {
        self.lines().unwrap_or_default().join("\n")
    }

    fn lines(&self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        match self {
            Failure::NobodyListens => return None,
            Failure::Usage(message) => lines.push(brief(message)),
            Failure::Local { doing, source } => lines.push(format!("{doing}: {source}")),
            Failure::Failed(_) => lines.push(self.to_string()),
            Failure::Refused { refusal, advice, clock } => {
                let here = clock.clone().unwrap_or_else(TimeZone::system);
                lines.push(plain(&brief(&with_times_in(&refusal.to_string(), &here))));
                lines.extend(other_rules(&refusal.rules, &here));
                if !refusal.alternatives.is_empty() {
                    lines.push("Free at that time:".into());
                    lines.extend(refusal.alternatives.iter().map(|seat| format!("  {}", seat_line(seat))));
                }
                let later: Vec<String> = other_times(refusal).map(|other| option_line(other, &here)).collect();
                if !later.is_empty() {
                    lines.push("Free at another time:".into());
                    lines.extend(later.into_iter().map(|line| format!("  {line}")));
                }
                lines.extend(advice.iter().cloned());
            }
            Failure::Unreachable { unreachable, advice } => {
                lines.push("no cluster in reach:".into());
                for (url, trouble) in &unreachable.endpoints {
                    let trouble = trouble.as_deref().unwrap_or("not tried");
                    lines.push(plain(&format!("  {url}  {trouble}")));
                }
                lines.extend(advice.iter().cloned());
                lines.push("Start one on this computer with: carrel demo".into());
                lines.push("Name another one with --endpoints or CARREL_ENDPOINTS.".into());
            }
        }
        Some(lines)
    }

    fn json(&self) -> Option<String> {
        let nothing = BTreeMap::new();
        let of = |code, reason, message| Body {
            code,
            reason,
            message,
            rules: Vec::new(),
            alternatives: Vec::new(),
            options: Vec::new(),
            metadata: &nothing,
        };
        let message = match self {
            Failure::Local { source, .. } => format!("{self}: {source}"),
            Failure::Unreachable { .. } => {
                format!("{self}. Start one with `carrel demo`, or name another with --endpoints.")
            }
            Failure::Usage(message) => brief(message),
            Failure::Refused { .. } | Failure::Failed(_) | Failure::NobodyListens => self.to_string(),
        };
        let error = match self {
            Failure::NobodyListens => return None,
            Failure::Refused { refusal, .. } => Body {
                code: refusal.code_name(),
                reason: &refusal.reason,
                message: &brief(&refusal.message),
                rules: refusal.rules.iter().map(|rule| Rule { reason: &rule.reason, message: &rule.message }).collect(),
                options: refusal.options.iter().map(super::json::document).collect(),
                alternatives: refusal.alternatives.iter().map(|seat| seat.name.as_str()).collect(),
                metadata: &refusal.metadata,
            },
            Failure::Usage(_) => of("INVALID_ARGUMENT", "USAGE", &message),
            Failure::Local { .. } | Failure::Failed(_) => of("FAILED_PRECONDITION", "LOCAL_FAILURE", &message),
            Failure::Unreachable { .. } => of("UNAVAILABLE", "NO_CLUSTER", &message),
        };
        Some(serde_json::to_string(&Document { error }).expect("strings and maps of strings are always JSON"))
    }
}

/// The rules besides the one that is the refusal, a line each.
fn other_rules(rules: &[v1::FailingRule], zone: &TimeZone) -> Vec<String> {
    let others = rules.iter().skip(1);
    let line = |rule: &v1::FailingRule| format!("also: {} ({})", with_times_in(&rule.message, zone), rule.reason);
    others.map(|rule| plain(&brief(&line(rule)))).collect()
}

/// What could be had at another time than was asked for.
fn other_times(refusal: &Refusal) -> impl Iterator<Item = &v1::Alternative> {
    let is_listed = |option: &&v1::Alternative| {
        option.seat.as_ref().is_some_and(|seat| refusal.alternatives.iter().any(|other| other == seat))
    };
    refusal.options.iter().filter(move |option| !is_listed(option))
}

/// `main/r-102  R 102, main/hall, power`
fn seat_line(seat: &v1::Seat) -> String {
    let mut about = vec![seat.label.clone(), short(&seat.area)];
    about.extend(seat.amenities.iter().cloned());
    about.extend(seat.accessible.then(|| "accessible".to_owned()));
    about.retain(|part| !part.is_empty());
    plain(&format!("{}  {}", short(&seat.name), about.join(", ")))
}

/// `2027-03-01 10:00–12:00 CET  main/r-102  R 102, main/hall, power`
pub(super) fn option_line(option: &v1::Alternative, zone: &TimeZone) -> String {
    let interval = option.interval.unwrap_or_default();
    let when = shown_interval(interval.start_time.as_ref(), interval.end_time.as_ref(), zone);
    if option.group_seats.len() > 1 {
        let seats: Vec<String> = option.group_seats.iter().map(|seat| short(&seat.name)).collect();
        return plain(&format!("{when}  {}", seats.join(", ")));
    }
    format!("{when}  {}", seat_line(&option.seat.clone().unwrap_or_default()))
}

/// No name has so many letters in a row: what somebody typed is not told back to them at full length.
const WORD_CHARS_MAX: usize = 100;
const WORD_BEGINNING_CHARS: usize = 40;

/// With the middle of whatever is no word any more left out; its end may hold a quotation mark.
fn brief(message: &str) -> String {
    let shortened = |word: &str| {
        let count = word.chars().count();
        if count <= WORD_CHARS_MAX {
            return word.to_owned();
        }
        let beginning: String = word.chars().take(WORD_BEGINNING_CHARS).collect();
        let end: String = word.chars().skip(count - WORD_BEGINNING_CHARS / 4).collect();
        format!("{beginning}…{end}")
    };
    message.split_inclusive(char::is_whitespace).map(shortened).collect()
}

/// Which of several things that were asked for it is.
pub(super) fn position(refusal: &Refusal) -> Option<usize> {
    refusal.metadata.get("position")?.parse().ok()
}

/// What to do next if a reservation is somebody else's; of those that never were, the service says the same.
pub(super) fn see_your_own(refusal: &Refusal) -> Vec<String> {
    let is_foreign = refusal.reason == "NOT_PERMITTED";
    is_foreign.then(|| "See yours with: carrel reservations".to_owned()).into_iter().collect()
}

/// What was typed wrongly, however it was found out.
const IS_USAGE: [&str; 3] = ["FIELD_INVALID", "INTERVAL_INVALID", "LOCAL_TIME_NONEXISTENT"];

fn moments_in(message: &str) -> impl Iterator<Item = Timestamp> {
    message.split(' ').filter_map(|word| bare(word).parse().ok())
}

/// Without what ends a sentence.
fn bare(word: &str) -> &str {
    word.trim_end_matches([' ', ',', ';', ':', '.'])
}

/// The moments in a message of the service, which knows no reader's zone, on a clock of the reader's.
pub(super) fn with_times_in(message: &str, zone: &TimeZone) -> String {
    message
        .split_inclusive(' ')
        .map(|word| {
            let bare = bare(word);
            match bare.parse::<Timestamp>() {
                Ok(moment) => format!("{}{}", shown_moment(moment, zone), &word[bare.len()..]),
                Err(_) => word.to_owned(),
            }
        })
        .collect()
}

/// What to do next after a refusal, whatever the command was.
fn general_advice(refusal: &Refusal) -> Vec<String> {
    let line = match refusal.reason.as_str() {
        "SESSION_EXPIRED" => "Log in with: carrel login NAME",
        "BRANCH_NOT_FOUND" | "AREA_NOT_FOUND" => "See what there is with: carrel branches",
        "SEAT_NOT_FOUND" => "See what there is with: carrel seats search --branch B",
        "RESERVATION_NOT_FOUND" | "OWN_OVERLAP" | "QUOTA_EXCEEDED" => "See yours with: carrel reservations --upcoming",
        "STATE_CONFLICT" => return vec![after_conflict(refusal)],
        "CLOSED" => "See when it is open with: carrel seats show SEAT",
        "USER_NOT_FOUND" | "RECIPIENT_NOT_FOUND" => "Find accounts with: carrel users list 'a*'",
        "WAITLIST_ENTRY_NOT_FOUND" => "See yours with: carrel waitlist list",
        "MESSAGE_NOT_FOUND" => "See yours with: carrel messages",
        "SUSPENDED" => "See until when with: carrel whoami",
        "PRESENCE_NOT_PROVEN" => "Type the code that the seat shows: --code K7M-2QP",
        "REGISTRATION_CLOSED" => "Librarians and admins make accounts, once they have logged in: carrel login NAME",
        "SESSION_NOT_FOUND" => "See yours with: carrel sessions",
        "STRIKE_NOT_FOUND" => "See them with: carrel users strikes NAME",
        _ => return Vec::new(),
    };
    vec![line.to_owned()]
}

/// What a reservation in this state allows.
fn after_conflict(refusal: &Refusal) -> String {
    let state = refusal.metadata.get("state").map(String::as_str);
    match state {
        Some("HELD") => "Take it with: carrel confirm NUMBER, or leave it with: carrel cancel NUMBER",
        Some("CONFIRMED") => "Arrive with: carrel check-in NUMBER; change it with carrel move, carrel cancel",
        Some("CHECKED_IN") => "Leave with: carrel check-out NUMBER, for a while with: carrel away NUMBER",
        Some("AWAY") => "Come back with: carrel back NUMBER, or leave with: carrel check-out NUMBER",
        _ => "See what became of it with: carrel audit NUMBER; book another with: carrel reserve",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::context::Zones;

    #[test]
    fn what_was_typed_wrongly_is_wrong_usage_wherever_it_is_found_out() {
        let code = |reason| Failure::refused(Code::InvalidArgument, reason, String::new()).exit_code();
        assert_eq!(code("INTERVAL_INVALID"), ExitCode::from(2));
        assert_eq!(code("FIELD_INVALID"), ExitCode::from(2));
        assert_eq!(code("LOCAL_TIME_NONEXISTENT"), ExitCode::from(2));
        assert_eq!(code("CATALOG_INVALID"), ExitCode::from(1));
    }

    #[test]
    fn what_was_typed_is_not_told_back_at_full_length() {
        let name = "b".repeat(300);
        let refused =
            Failure::refused(Code::NotFound, "BRANCH_NOT_FOUND", format!("there is no branch {name}; known: x"));
        for said in [refused.json(), refused.text(), Failure::Usage(format!("invalid value '{name}' for")).json()] {
            let said = said.expect("something is said");
            assert!(said.len() < 200 && said.contains("bbb…bbb") && !said.contains(&name), "{said}");
        }
        let path = format!("cannot read /{}/x", "directory/".repeat(8));
        assert_eq!(brief(&path), path);
    }

    fn taken() -> Failure {
        let free = v1::Seat {
            name: "branches/main/seats/r-102".into(),
            area: "branches/main/areas/hall".into(),
            label: "R 102".into(),
            amenities: vec!["power".into()],
            ..Default::default()
        };
        let refusal = Refusal {
            code: Code::FailedPrecondition,
            reason: "SEAT_TAKEN".into(),
            message: "the seat is taken".into(),
            metadata: BTreeMap::new(),
            alternatives: vec![free],
            options: Vec::new(),
            rules: Vec::new(),
        };
        Failure::from(ClientError::Refused(refusal))
    }

    #[test]
    fn a_refusal_is_told_to_people_with_what_to_do() {
        let text = taken().advise(|_| vec!["Wait for it with: carrel waitlist join".into()]).text();
        let text = anstream::adapter::strip_str(text.as_deref().expect("there is something to say")).to_string();
        assert_eq!(
            text,
            "error: the seat is taken (SEAT_TAKEN)\n\
             Free at that time:\n  main/r-102  R 102, main/hall, power\n\
             Wait for it with: carrel waitlist join"
        );
    }

    #[test]
    fn what_the_state_of_a_reservation_allows_is_told_with_its_number() {
        let refusal = Refusal {
            code: Code::FailedPrecondition,
            reason: "STATE_CONFLICT".into(),
            message: "the reservation is away".into(),
            metadata: BTreeMap::from([("state".to_owned(), "AWAY".to_owned())]),
            alternatives: Vec::new(),
            options: Vec::new(),
            rules: Vec::new(),
        };
        let told = Failure::from(ClientError::Refused(refusal)).with_number("17").told();
        assert!(told.ends_with("Come back with: carrel back 17, or leave with: carrel check-out 17"), "{told}");
    }

    #[test]
    fn a_refusal_is_told_to_programs_in_the_agreed_shape() {
        assert_eq!(
            taken().json().as_deref(),
            Some(
                r#"{"error":{"code":"FAILED_PRECONDITION","reason":"SEAT_TAKEN","message":"the seat is taken","alternatives":["branches/main/seats/r-102"]}}"#
            )
        );
        let refused = Failure::refused(Code::NotFound, "BRANCH_NOT_FOUND", "there is no branch x".into());
        assert_eq!(
            refused.json().as_deref(),
            Some(r#"{"error":{"code":"NOT_FOUND","reason":"BRANCH_NOT_FOUND","message":"there is no branch x"}}"#)
        );
    }

    #[test]
    fn what_could_be_had_instead_is_told_on_the_clock_of_its_branch() {
        let seat = v1::Seat { name: "branches/main/seats/r-102".into(), label: "R 102".into(), ..Default::default() };
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let interval = Some(v1::Interval { start_time: at(1_700_000_400), end_time: at(1_700_004_000) });
        let option = v1::Alternative { seat: Some(seat), interval, group_seats: Vec::new() };
        let refused = Failure::refused(Code::FailedPrecondition, "CLOSED", "it opens at 2023-11-15T07:00:00Z".into());
        let Failure::Refused { mut refusal, advice, .. } = refused else { panic!("a refusal") };
        refusal.options.push(option);
        let branch = v1::BranchSummary {
            name: "branches/main".into(),
            time_zone: "Asia/Kathmandu".into(),
            ..Default::default()
        };
        let failure = Failure::Refused { refusal, advice, clock: None };
        assert!(failure.has_times());
        let clock = Zones::new(&[branch]).shared_by(failure.seats().into_iter());
        let failure = failure.on_the_clock(clock);
        let text = failure.text().expect("there is something to say");
        assert!(text.contains("it opens at 2023-11-15 12:45 +0545"), "{text}");
        assert!(text.contains("2023-11-15 04:05–05:05 +0545  main/r-102"), "{text}");
    }

    #[test]
    fn moments_are_told_on_the_clock_of_the_reader() {
        let zone = TimeZone::get("Europe/Berlin").expect("the zone is known");
        assert_eq!(
            with_times_in("that opens at 2026-11-21T21:45:00Z, not before: 17 reservations/3 v1.", &zone),
            "that opens at 2026-11-21 22:45 CET, not before: 17 reservations/3 v1."
        );
    }

    #[test]
    fn nobody_in_reach_names_who_was_asked_and_how_to_start_one() {
        let unreachable = Unreachable {
            endpoints: vec![("http://a:1".into(), Some("Connection refused".into())), ("http://b:1".into(), None)],
            in_doubt: true,
        };
        let failure = Failure::from(ClientError::Unreachable(unreachable)).advise_if_in_doubt(|| "Ask again.".into());
        let text = failure.text().expect("there is something to say");
        for part in ["http://a:1  Connection refused", "http://b:1  not tried", "Ask again.", "carrel demo"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(failure.json().expect("there is something to say").contains(r#""reason":"NO_CLUSTER""#));
    }
}
