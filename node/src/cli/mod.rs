//! The command line: what can be asked, and how it ends.
//!
//! Exit codes: 0 done, 1 refused by the rules, 2 wrong usage, 3 no cluster in reach. Answers go to standard output, as
//! tables for people or as one line of JSON for programs; everything else goes to standard error.

mod accounts;
mod admin;
mod audit;
mod backup;
mod booking;
mod catalog;
mod chat;
mod cluster;
mod cluster_text;
mod context;
mod desk;
mod errors;
mod inbox;
mod json;
mod messages;
mod names;
mod outward;
mod own;
mod pages;
mod permission;
mod projection;
mod recover;
mod rehearse;
mod reports;
mod reservations;
mod seats;
mod session;
mod table;
mod time;
mod top;
mod traced;
mod waitlist;
mod wish;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use errors::Failure;

use context::Context;

/// Where `carrel demo` serves.
const DEFAULT_ENDPOINTS: &str = "http://127.0.0.1:7400,http://127.0.0.1:7401,http://127.0.0.1:7402";

/// Study seats for a library: search, reserve, check in, wait, and be told.
#[derive(Debug, Parser)]
#[command(name = "carrel", version, propagate_version = true, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Names may be short or long: amy or users/amy, main/r-101 or branches/main/seats/r-101, 17 or reservations/17.
Times are RFC 3339 (2027-03-01T10:00:00+01:00), HH:MM today, or YYYY-MM-DDTHH:MM; the last two in the branch's zone.

A first booking:
  carrel register amy
  carrel login amy
  carrel seats search --branch main --power --available
  carrel reserve main/r-101 --from 14:00 --to 16:00
  carrel check-in 1

Exit codes: 0 done, 1 refused by the rules, 2 wrong usage, 3 no cluster in reach.")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Nodes to talk to; any that answers will do
    #[arg(long, env = "CARREL_ENDPOINTS", value_name = "URL,URL", value_delimiter = ',', global = true)]
    #[arg(default_value = DEFAULT_ENDPOINTS, hide_env_values = true)]
    pub endpoints: Vec<String>,
    /// Tables for people, or one line of JSON for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,
    /// Where the session is kept [default: the user's configuration directory]
    #[arg(long, env = "CARREL_CONFIG", value_name = "DIR", hide_env_values = true, global = true)]
    pub config: Option<PathBuf>,
    /// How long to look for a node that answers
    #[arg(long, env = "CARREL_TIMEOUT", value_name = "SECONDS", hide_env_values = true, global = true)]
    #[arg(default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub timeout: u32,
    /// Authorities to trust on https:// endpoints (PEM)
    #[arg(long, env = "CARREL_CA", value_name = "FILE", hide_env_values = true, global = true)]
    pub ca: Option<PathBuf>,
    /// Certificate to show, which the admin port asks for (PEM)
    #[arg(long, env = "CARREL_CERT", value_name = "FILE", hide_env_values = true, global = true)]
    #[arg(requires_all = ["ca", "key"])]
    pub cert: Option<PathBuf>,
    /// The key of --cert (PEM)
    #[arg(long, env = "CARREL_KEY", value_name = "FILE", hide_env_values = true, global = true, requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Globals {
    /// Those that were said. Who says none but whom to trust, as who has only an admin port to call, means TLS.
    fn endpoints(&self) -> Vec<String> {
        let secured = |url: &String| url.replacen("http://", "https://", 1);
        if self.ca.is_some() && self.endpoints.iter().map(String::as_str).eq(DEFAULT_ENDPOINTS.split(',')) {
            return self.endpoints.iter().map(secured).collect();
        }
        self.endpoints.clone()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Seats(seats::Command),
    #[command(flatten)]
    Booking(booking::Command),
    #[command(flatten)]
    Reservations(reservations::Command),
    #[command(flatten)]
    Waitlist(waitlist::Command),
    #[command(flatten)]
    Inbox(inbox::Command),
    #[command(flatten)]
    Messages(messages::Command),
    #[command(flatten)]
    Accounts(accounts::Command),
    #[command(flatten)]
    Chat(chat::Command),
    #[command(flatten)]
    Own(own::Command),
    #[command(flatten)]
    Outward(outward::Command),
    #[command(flatten)]
    Audit(audit::Command),
    #[command(flatten)]
    Catalog(catalog::Command),
    #[command(flatten)]
    Cluster(cluster::Command),
    #[command(flatten)]
    Reports(reports::Command),
    #[command(flatten)]
    Projection(projection::Command),
    /// Take a backup of a running cluster, or look at one
    #[command(subcommand)]
    Backup(backup::Backup),
    Restore(backup::Restore),
    Recover(recover::Recover),
    Rehearse(rehearse::Rehearse),
    Top(top::Top),
    Demo(crate::demo::DemoArgs),
    Start(Box<crate::config::NodeConfig>),
    Certs(crate::certs::CertsArgs),
    Bench(crate::bench::BenchArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  carrel completions bash > ~/.local/share/bash-completion/completions/carrel")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let Cli { globals, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json(std::env::args_os()) => {
            return Failure::from(as_typed(error, std::env::args_os())).report(Output::Json);
        }
        Err(error) => as_typed(error, std::env::args_os()).exit(),
    };
    let output = globals.output;
    match dispatch(globals, command) {
        Ok(code) => code,
        Err(failure) => failure.advise(|refusal| permission::advice(refusal, &command_path())).report(output),
    }
}

/// What is wrong with a command line, with a usage of what was typed: what the environment adds is none of it.
fn as_typed(error: clap::Error, words: impl IntoIterator<Item = OsString>) -> clap::Error {
    fn without_environment(command: clap::Command) -> clap::Command {
        let command = command.mut_args(|argument| argument.env(Resettable::Reset));
        command.mut_subcommands(without_environment)
    }
    if !error.use_stderr() {
        return error;
    }
    match without_environment(Cli::command()).try_get_matches_from(words) {
        // If the environment alone is at fault, the first complaint is the right one.
        Err(typed) if typed.kind() == error.kind() => typed,
        Err(_) | Ok(_) => error,
    }
}

/// The command that was given with the one inside it: `users set-role`.
fn command_path() -> String {
    let mut path = Vec::new();
    let mut commands = Cli::command();
    for word in std::env::args_os().skip(1) {
        if let Some(inner) = word.to_str().and_then(|word| commands.find_subcommand(word)).cloned() {
            path.push(inner.get_name().to_owned());
            commands = inner;
        }
    }
    path.join(" ")
}

/// Whether a command line that could not be understood asked for JSON: its author is a program.
fn wants_json(words: impl IntoIterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = words.into_iter().collect();
    words.iter().any(|word| word == "--output=json")
        || words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

fn dispatch(globals: Globals, command: Command) -> Result<ExitCode, Failure> {
    let output = globals.output;
    match command {
        Command::Seats(command) => client(globals, async |context| seats::run(context, command).await)?,
        Command::Booking(command) => client(globals, async |context| booking::run(context, command).await)?,
        Command::Reservations(command) => client(globals, async |context| reservations::run(context, command).await)?,
        Command::Waitlist(command) => client(globals, async |context| waitlist::run(context, command).await)?,
        Command::Inbox(command) => client(globals, async |context| inbox::run(context, command).await)?,
        Command::Messages(command) => client(globals, async |context| messages::run(context, command).await)?,
        Command::Accounts(command) => client(globals, async |context| accounts::run(context, command).await)?,
        Command::Chat(command) => client(globals, async |context| chat::run(context, command).await)?,
        Command::Own(command) => client(globals, async |context| own::run(context, command).await)?,
        Command::Outward(command) => client(globals, async |context| outward::run(context, command).await)?,
        Command::Audit(command) => client(globals, async |context| audit::run(context, command).await)?,
        Command::Catalog(command) => client(globals, async |context| catalog::run(context, command).await)?,
        Command::Cluster(command) => client(globals, async |context| cluster::run(context, command).await)?,
        Command::Reports(command) => client(globals, async |context| reports::run(context, command).await)?,
        Command::Projection(command) => client(globals, async |context| projection::run(context, command).await)?,
        Command::Backup(command) => one_thread()?.block_on(backup::run(&globals, command))?,
        Command::Restore(restore) => one_thread()?.block_on(backup::restore(output, restore))?,
        Command::Recover(recover) => one_thread()?.block_on(recover::run(output, recover))?,
        Command::Rehearse(rehearse) => client(globals, async |context| rehearse::run(context, &rehearse).await)?,
        Command::Top(top) => top::run(&one_thread()?, &top)?,
        Command::Demo(args) => one_thread()?.block_on(crate::demo::run(args, globals.output == Output::Json))?,
        Command::Start(config) => return Ok(crate::start::run(*config)?),
        Command::Certs(args) => crate::certs::run(&args)?,
        Command::Bench(args) => {
            let runtime = tokio::runtime::Runtime::new().map_err(not_started)?;
            runtime.block_on(crate::bench::run(
                args,
                |options| context::client(&globals, options),
                globals.output == Output::Json,
            ))?;
        }
        Command::Completions { shell } => completions(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that talks to a cluster. One thread is enough: it waits for one answer at a time.
fn client(globals: Globals, command: impl AsyncFnOnce(&Context) -> Result<(), Failure>) -> Result<(), Failure> {
    one_thread()?.block_on(traced::traced(async || command(&Context::new(globals)?).await))
}

/// The command that was given, of those that there are; nothing else that was said.
fn command_name() -> String {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let commands = Cli::command();
    let is_known = |word: &&OsString| commands.get_subcommands().any(|known| word.to_str() == Some(known.get_name()));
    let named = words.iter().find(is_known).and_then(|word| word.to_str());
    format!("carrel {}", named.unwrap_or_default()).trim_end().to_owned()
}

fn one_thread() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(not_started)
}

fn not_started(source: std::io::Error) -> Failure {
    Failure::Local { doing: "starting".into(), source }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "carrel", &mut script);
    context::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no description");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {} has no description", argument.get_id());
            }
            command.get_subcommands().for_each(|inner| check(inner, &path));
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn every_command_of_the_contract_is_understood() {
        for line in [
            "register amy --password-stdin",
            "login amy --password-stdin",
            "logout",
            "whoami",
            "users list",
            "users list a*",
            "users delete amy",
            "users delete amy --yes",
            "waitlist offers",
            "chat --plain --yes",
            "users set-role ben librarian --branch main --branch law",
            "branches",
            "seats search --branch main",
            "seats search --branch main --area hall --power --monitor --accessible --from 10:00 --to 12:00 --available",
            "seats show main/r-101",
            "reserve main/r-101 --from 10:00 --to 12:00",
            "reserve main/r-101 --from 2027-03-01T10:00:00Z --to 2027-03-01T12:00:00Z \
             --request-id 6ba7b810-9dad-41d1-80b4-00c04fd430c8",
            "reserve --branch main --area hall --power --amenity window --from 10:00 --to 12:00 --dry-run",
            "reserve main/r-101 --from 10:00 --to 12:00 --for amy --reason asked --exempt",
            "hold main/r-101 --from 10:00 --to 12:00 --dry-run",
            "confirm 17",
            "group main/r-101=amy main/r-102=ben --from 10:00 --to 12:00 --dry-run",
            "series main/r-101 --from 10:00 --to 12:00 --every week --times 12",
            "why main/r-101 --from 10:00 --to 12:00",
            "quota main/hall --at 12:00",
            "walk-in main/r-101 --until 12:00 --for amy --code K7M-2QP --dry-run",
            "check-in 17 --code k7m2qp",
            "away 17",
            "back 17 --code K7M-2QP",
            "extend 17 --until 18:00 --dry-run",
            "move 17 --seat main/r-102",
            "move 17 --from 15:00 --to 17:00",
            "move 17 --to 17:00",
            "move 17 --from 15:00",
            "report-empty main/r-101",
            "cancel 17 --reason repairs",
            "seats close maintenance --seat main/r-101 --from 10:00 --to 12:00 --reason lamp",
            "seats close closure --branch main --area hall --from 10:00 --to 12:00 --reason exam --dry-run",
            "seats reopen --branch main --from 10:00 --to 12:00 --reason done",
            "seats code main/r-101 --follow",
            "seats rotate-codes",
            "seats reservations main/r-101",
            "users suspend amy --days 7 --reason noise",
            "users unsuspend amy --reason talked",
            "users strikes",
            "users strikes amy",
            "users waive amy 17 --reason lift",
            "users needs-accessible amy yes",
            "my-data",
            "mail",
            "mail amy@example.org --no-messages",
            "mail confirm K7MQ-2QPX-9F3T",
            "mail none",
            "webhooks list",
            "webhooks add https://example.org/carrel",
            "webhooks rotate 67e5504410b1426f9247bb680e5fe0c8",
            "webhooks remove 67e5504410b1426f9247bb680e5fe0c8",
            "waitlist join --branch main --from 10:00 --to 18:00 --stay 120 --amenity window --dry-run",
            "reservations",
            "reservations --state confirmed --upcoming",
            "reservations --state CHECKED_IN",
            "reservation show 17",
            "check-in 17",
            "check-out reservations/17",
            "cancel 17",
            "waitlist join --seat main/r-101 --from 10:00 --to 12:00",
            "waitlist join --branch main --area hall --from 10:00 --to 24:00",
            "waitlist list",
            "waitlist leave 5",
            "offers accept 17",
            "offers decline 17",
            "inbox",
            "inbox --follow --output json",
            "send amy hello",
            "broadcast hello",
            "broadcast hello --branch main",
            "broadcast hello --role librarian",
            "chat",
            "password --password-stdin",
            "sessions",
            "sessions revoke 00112233445566778899aabbccddeeff",
            "calendar create",
            "calendar revoke",
            "follow",
            "follow main law",
            "follow --none",
            "audit",
            "audit 17",
            "audit --user amy",
            "seats watch --branch main",
            "seats watch --branch main --area hall --output json",
            "messages",
            "messages amy",
            "messages delete 1207-0",
            "messages report 1207-0 --reason rude",
            "messages conversations",
            "messages block ben",
            "messages unblock ben",
            "messages blocks",
            "catalog export",
            "catalog import campus.yaml",
            "catalog generate --seed 7",
            "demo --replicas 5 --dir d --port 7500 --fresh --no-restart --catalog c.yaml --grace-minutes 2 --output json",
            "demo --postgres --dir d",
            "demo restart 1 --dir d",
            "start --dir d --ordinal 0 --peer-urls http://a:1 --client-urls http://a:2",
            "bench searches --clients 10 --seconds 5",
            "bench bookings --clients 1,50,200 --rate 500 --replicas 3 --port 7700 --dir d",
            "bench reads --metrics http://127.0.0.1:7430/metrics",
            "bench failover --clients 20 --tries 5 --how kill",
            "bench once --commands 3000 --leader-changes 2 --repeated 30 --seed 7 --replicas 5",
            "bench record --clients 200 --seconds 10 --pairs 6 --rate 500 --port 7700",
            "bench machine --dir d",
            "cluster status --output json",
            "cluster transfer-leadership 2",
            "certs --dir keys --hosts 127.0.0.1,*.example.org --days 30",
            "branches --ca ca.crt",
            "cluster status --ca ca.crt --cert tls.crt --key tls.key",
            "cluster status --full",
            "cluster watch --output json",
            "cluster transfer 2",
            "cluster add http://127.0.0.1:7423 --admin http://127.0.0.1:7420",
            "cluster voters 1 7 9",
            "cluster remove 7",
            "cluster snapshot",
            "history",
            "history --last 500",
            "report utilization --branch main --by hour --from 2027-01-01 --to 2027-02-01",
            "report no-shows --by branch --csv",
            "report waits --by all",
            "report peak --by area",
            "report export --branch main --from 2027-01-01 --names",
            "projection status",
            "projection verify --admin http://127.0.0.1:7420",
            "projection rebuild --adopt",
            "backup save library.backup --admin http://127.0.0.1:7420",
            "backup verify library.backup",
            "restore --backup library.backup --dir d",
            "recover --dir d --survey",
            "recover --dir d --new-lineage 1",
            "top --metrics http://127.0.0.1:7430/metrics",
            "rehearse --nodes 3 --endpoints http://library-clients:7400",
            "completions bash",
        ] {
            let words = std::iter::once("carrel").chain(line.split_whitespace());
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_program_is_told_of_wrong_usage_in_json() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(words("carrel --output json reserve")));
        assert!(wants_json(words("carrel reserve --output=json")));
        assert!(!wants_json(words("carrel send amy json --output table")));
        let error = Cli::try_parse_from(words("carrel reserve main/r-101 --output json")).expect_err("no times");
        let Failure::Usage(message) = Failure::from(error) else { panic!("that is usage") };
        assert!(message.starts_with("the following required arguments were not provided"), "{message}");
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn wrong_usage_is_noticed_before_anything_is_sent() {
        for line in [
            "reserve main/r-101 --from 10:00",
            "reserve main/r-101 --from 10:61 --to 12:00",
            "reserve main/r-101 --from soon --to 12:00",
            "reserve main/r-101 --from 10:00 --to 12:00 --request-id 7",
            "reserve r-101 --from 10:00 --to 12:00",
            "reserve --from 10:00 --to 12:00",
            "reserve main/r-101 --branch main --from 10:00 --to 12:00",
            "reserve main/r-101 --from 10:00 --to 12:00 --for amy",
            "reserve main/r-101 --from 10:00 --to 12:00 --exempt",
            "move 17",
            "extend 17",
            "check-in abc",
            "waitlist leave abc",
            "group --from 10:00 --to 12:00",
            "group main/r-101 --from 10:00 --to 12:00",
            "series main/r-101 --from 10:00 --to 12:00 --every week --times 32",
            "seats close --seat main/a --from 10:00 --to 12:00 --reason x",
            "seats close closure --seat main/a --from 10:00 --to 12:00",
            "quota hall",
            "users suspend amy --days 0 --reason x",
            "users suspend amy --days 7",
            "users needs-accessible amy maybe",
            "seats search",
            "seats search --branch main --from 10:00",
            "waitlist join --from 10:00 --to 12:00",
            "waitlist join --seat main/a --branch main --from 10:00 --to 12:00",
            "waitlist join --seat main/a --area hall --from 10:00 --to 12:00",
            "users set-role ben king",
            "reservations --state lost",
            "history --last 0",
            "report utilization --from yesterday",
            "report peak --by weekday",
            "cluster transfer-leadership two",
            "cluster transfer 0",
            "cluster add",
            "cluster voters",
            "cluster voters one",
            "cluster remove -1",
            "branches --timeout 0",
            "inbox --follow --keep-unread",
            "branches --ca ca.crt --cert tls.crt",
            "branches --cert tls.crt --key tls.key",
        ] {
            let words = std::iter::once("carrel").chain(line.split_whitespace());
            let error = Cli::try_parse_from(words).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_usage_is_of_what_was_typed() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(OsString::from).collect() };
        let line = words("carrel seats close --seat main/a --from 10:00 --to 12:00 --reason x");
        let error = Cli::try_parse_from(&line).expect_err("it does not say what for");
        let text = as_typed(error, line).to_string();
        assert!(text.contains("maintenance|closure") && !text.contains("--endpoints"), "{text}");
    }

    #[test]
    fn an_authority_to_trust_makes_the_usual_endpoints_tls() {
        let of = |named: &str, ca: Option<&str>| {
            let globals = Globals {
                endpoints: named.split(',').map(str::to_owned).collect(),
                output: Output::Table,
                config: None,
                timeout: 1,
                ca: ca.map(Into::into),
                cert: None,
                key: None,
            };
            globals.endpoints()
        };
        assert_eq!(of(DEFAULT_ENDPOINTS, Some("ca.crt"))[0], "https://127.0.0.1:7400");
        assert_eq!(of(DEFAULT_ENDPOINTS, None)[0], "http://127.0.0.1:7400");
        // What somebody has named is refused and not put right.
        assert_eq!(of("http://library:7400", Some("ca.crt")), ["http://library:7400"]);
    }
}
