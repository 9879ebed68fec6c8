//! Accounts and sessions: register, login, logout, whoami, users.

use std::io::{self, IsTerminal, Read, Write};

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::context::Context;
use super::errors::Failure;
use super::json;
use super::names::{self, short};
use super::pages::{self, PAGE_SIZE};
use super::session::Session;
use super::table::{counted, table, words};
use super::time::{days_from_now, shown, shown_date};

/// Longer than any password the rules allow, short enough not to read a disk by mistake.
const LONGEST_PASSWORD_BYTES: u64 = 64 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account
    #[command(after_help = "Example:\n  echo 'correct horse' | carrel register amy --password-stdin")]
    Register {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user_id)]
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Begin a session, kept for the commands that follow
    #[command(after_help = "Example:\n  echo 'correct horse' | carrel login amy --password-stdin")]
    Login {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user_id)]
        name: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// End the session
    Logout,
    /// Show whose session this is
    Whoami,
    /// Print everything that is kept about you, as JSON
    MyData,
    /// List, delete, promote and suspend accounts
    #[command(subcommand)]
    Users(Users),
}

#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// List accounts, all or those whose name fits a pattern
    #[command(after_help = "Example:\n  carrel users list 'a*'      (* is any text, ? is one character)")]
    List {
        /// Only names that fit, for example 'a*'
        glob: Option<String>,
    },
    /// Delete an account: its reservations are cancelled, its places on waitlists given up
    #[command(after_help = "On a terminal it asks for the name once more; programs say --yes.")]
    Delete {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user)]
        name: String,
        /// Ask nothing
        #[arg(long)]
        yes: bool,
    },
    /// Give an account a role (admins only)
    #[command(after_help = "Example:\n  carrel users set-role ben librarian --branch main --branch law")]
    SetRole {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user)]
        name: String,
        /// What it may do from now on
        #[arg(value_parser = role_parser(), ignore_case = true)]
        role: v1::Role,
        /// A branch a librarian looks after; may be repeated
        #[arg(long = "branch", value_name = "B", value_parser = names::branch)]
        branches: Vec<String>,
    },
    /// Allow somebody no new reservations for some days (staff)
    #[command(after_help = "Example:\n  carrel users suspend amy --days 7 --reason 'left rubbish again'")]
    Suspend {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user)]
        name: String,
        /// For how many days
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=365))]
        days: u16,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a suspension, and forgive what led to it (staff)
    Unsuspend {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user)]
        name: String,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List strikes: your own, or somebody's (staff)
    Strikes {
        /// Name of the account [default: your own]
        #[arg(value_parser = names::user)]
        name: Option<String>,
    },
    /// Forgive a strike (staff)
    #[command(after_help = "Example:\n  carrel users waive amy 17 --reason 'the lift was stuck'")]
    Waive {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user)]
        name: String,
        /// Number of the reservation that the strike is for, for example 17
        #[arg(value_name = "R", value_parser = names::reservation)]
        reservation: String,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Say whether somebody needs an accessible seat, and so may have those kept for them (staff)
    NeedsAccessible {
        /// Name of the account, for example amy
        #[arg(value_parser = names::user)]
        name: String,
        /// Yes or no
        #[arg(action = clap::ArgAction::Set)]
        #[arg(value_parser = PossibleValuesParser::new(["yes", "no"]).map(|word| word == "yes"))]
        needs_accessible: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct PasswordSource {
    /// Read the password from standard input, one line
    #[arg(long)]
    password_stdin: bool,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Register { name, password } => register(context, name, password.read(true)?).await,
        Command::Login { name, password } => login(context, name, password.read(false)?).await,
        Command::Logout => logout(context).await,
        Command::Whoami => whoami(context).await,
        Command::MyData => my_data(context).await,
        Command::Users(Users::Suspend { name, days, reason }) => suspend(context, name, days, reason).await,
        Command::Users(Users::Unsuspend { name, reason }) => unsuspend(context, name, reason).await,
        Command::Users(Users::Strikes { name }) => strikes(context, name.unwrap_or_default()).await,
        Command::Users(Users::Waive { name, reservation, reason }) => waive(context, name, reservation, reason).await,
        Command::Users(Users::NeedsAccessible { name, needs_accessible }) => {
            needs_accessible_seat(context, name, needs_accessible).await
        }
        Command::Users(Users::List { glob }) => list_users(context, glob.unwrap_or_default()).await,
        Command::Users(Users::Delete { name, yes }) => delete_user(context, name, yes).await,
        Command::Users(Users::SetRole { name, role, branches }) => set_role(context, name, role, branches).await,
    }
}

async fn register(context: &Context, user_id: String, password: String) -> Result<(), Failure> {
    let request = v1::RegisterRequest { request_id: new_request_id(), user_id: user_id.clone(), password };
    // Whoever is logged in is asked for only where people make no accounts for themselves.
    let response = context.wait(context.client()?.register(request)).await?;
    context.answer(&response, || format!("Account {user_id} made. Log in with: carrel login {user_id}"))
}

async fn login(context: &Context, user_id: String, password: String) -> Result<(), Failure> {
    let request = v1::LoginRequest { user_id: user_id.clone(), password };
    let response = context.wait(context.anonymous().login(request)).await?;
    let user = response.user.as_ref().map_or_else(|| format!("users/{user_id}"), |user| user.name.clone());
    context.store.save(&Session { user, token: response.session_token.clone() })?;
    context.answer(&response, || {
        let until = shown(response.expire_time.as_ref(), &TimeZone::system());
        format!("Logged in as {user_id} until {until}.{}", unread_note(response.unread_count))
    })
}

async fn logout(context: &Context) -> Result<(), Failure> {
    if context.store.load()?.is_none() {
        return context.answer(&v1::LogoutResponse::default(), || "Nobody was logged in.".into());
    }
    let request = v1::LogoutRequest { request_id: new_request_id() };
    let response = match context.wait(context.client()?.logout(request)).await {
        // The session is over already, which is what was asked for.
        Err(Failure::Refused { refusal, .. }) if refusal.code == tonic::Code::Unauthenticated => Default::default(),
        other => other?,
    };
    context.store.remove()?;
    context.answer(&response, || "Logged out.".into())
}

async fn whoami(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.get_session(v1::GetSessionRequest::default())).await?;
    context.answer(&response, || {
        let user = response.user.clone().unwrap_or_default();
        let here = TimeZone::system();
        let branches: Vec<String> = user.branches.iter().map(|branch| short(branch)).collect();
        let of = if branches.is_empty() { String::new() } else { format!(" of {}", branches.join(", ")) };
        let mut text = format!("{} ({}{of})", short(&user.name), role_words(&user));
        text += &format!(", logged in until {}.", shown(response.expire_time.as_ref(), &here));
        if user.suspended_until.is_some() {
            text += &format!("\nSuspended until {}.", shown(user.suspended_until.as_ref(), &here));
        }
        text + &unread_note(response.unread_count)
    })
}

async fn list_users(context: &Context, filter: String) -> Result<(), Failure> {
    let client = context.client()?;
    let response = pages::all(async |page_token| {
        let request = v1::ListUsersRequest { filter: filter.clone(), page_size: PAGE_SIZE, page_token, read: None };
        context.wait(client.list_users(request)).await
    });
    let response = response.await?;
    context.answer(&response, || {
        let here = TimeZone::system();
        let row = |user: &v1::User| {
            let branches: Vec<String> = user.branches.iter().map(|branch| short(branch)).collect();
            let suspended = shown(user.suspended_until.as_ref(), &here);
            let since = shown_date(user.create_time.as_ref(), &here);
            [short(&user.name), role_words(user), branches.join(", "), since, suspended]
        };
        let headings = ["USER", "ROLE", "BRANCHES", "SINCE", "SUSPENDED UNTIL"];
        table(headings, response.users.iter().map(row).collect(), "No account fits.")
    })?;
    context.remark_if_cut(&response);
    Ok(())
}

async fn delete_user(context: &Context, name: String, is_sure: bool) -> Result<(), Failure> {
    if !is_sure {
        confirmed(&short(&name))?;
    }
    let request = v1::DeleteUserRequest { request_id: new_request_id(), name: name.clone() };
    let response = context.wait(context.client()?.delete_user(request)).await?;
    if context.store.load()?.is_some_and(|session| session.user == name) {
        context.store.remove()?;
    }
    context.answer(&response, || format!("Account {} deleted.", short(&name)))
}

/// It cannot be taken back: whoever means it types the name once more.
fn confirmed(name: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let why = format!("nobody is there to be asked whether to delete {name}: say so with --yes");
        return Err(Failure::Usage(why));
    }
    let mut typed = String::new();
    write!(io::stderr(), "This deletes {name} for good, with all that is booked and waited for. Type the name again: ")
        .and_then(|()| io::stdin().read_line(&mut typed))
        .map_err(|source| Failure::Local { doing: "asking".into(), source })?;
    if typed.trim() == name { Ok(()) } else { Err(Failure::Usage("that is another name: nothing was deleted".into())) }
}

async fn set_role(context: &Context, name: String, role: v1::Role, branches: Vec<String>) -> Result<(), Failure> {
    let request = v1::SetUserRoleRequest { request_id: new_request_id(), name, role: role.into(), branches };
    let response = context.wait(context.client()?.set_user_role(request)).await?;
    context.answer(&response, || {
        let user = response.user.clone().unwrap_or_default();
        format!("{} is now {}.", short(&user.name), role_words(&user))
    })
}

async fn suspend(context: &Context, name: String, days: u16, reason: String) -> Result<(), Failure> {
    let until = Some(days_from_now(days));
    let request = v1::SuspendUserRequest { request_id: new_request_id(), name, until, reason };
    let response = context.wait(context.client()?.suspend_user(request)).await?;
    context.answer(&response, || {
        let user = response.user.clone().unwrap_or_default();
        let until = shown(user.suspended_until.as_ref(), &TimeZone::system());
        format!("{} is suspended until {until}.", short(&user.name))
    })
}

async fn unsuspend(context: &Context, name: String, reason: String) -> Result<(), Failure> {
    let request = v1::UnsuspendUserRequest { request_id: new_request_id(), name: name.clone(), reason };
    let response = context.wait(context.client()?.unsuspend_user(request)).await?;
    context.answer(&response, || format!("{} may book again.", short(&name)))
}

async fn strikes(context: &Context, name: String) -> Result<(), Failure> {
    let request = v1::ListStrikesRequest { name, read: None };
    let response = context.wait(context.client()?.list_strikes(request)).await?;
    context.answer(&response, || {
        let here = TimeZone::system();
        let row = |strike: &v1::Strike| {
            let counts = if strike.waived { "forgiven" } else { "counts" };
            let cause = words(strike.cause().as_str_name(), "CAUSE_");
            [short(&strike.reservation), shown(strike.create_time.as_ref(), &here), cause, counts.into()]
        };
        table(["RESERVATION", "WHEN", "FOR", ""], response.strikes.iter().map(row).collect(), "No strikes.")
    })
}

async fn waive(context: &Context, name: String, reservation: String, reason: String) -> Result<(), Failure> {
    let request = v1::WaiveStrikeRequest { request_id: new_request_id(), name: name.clone(), reservation, reason };
    let response = context.wait(context.client()?.waive_strike(request)).await?;
    context.answer(&response, || {
        let still = response.user.as_ref().and_then(|user| user.suspended_until.as_ref());
        match still {
            Some(until) => {
                let until = shown(Some(until), &TimeZone::system());
                format!("Forgiven. {} is still suspended until {until}.", short(&name))
            }
            None => format!("Forgiven. {} may book.", short(&name)),
        }
    })
}

async fn needs_accessible_seat(context: &Context, name: String, needs_accessible: bool) -> Result<(), Failure> {
    let request = v1::SetAccessibilityRequest { request_id: new_request_id(), name: name.clone(), needs_accessible };
    let response = context.wait(context.client()?.set_accessibility(request)).await?;
    let may = if needs_accessible { "may have" } else { "has no claim to" };
    context.answer(&response, || format!("{} {may} seats that are kept for who needs an accessible one.", short(&name)))
}

async fn my_data(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.export_my_data(v1::ExportMyDataRequest::default())).await?;
    context.answer(&response, || format!("{:#}", json::document(&response)))
}

/// The one that was, and the one that is to be.
#[derive(Args, Debug)]
pub(super) struct NewPasswordSource {
    /// Read both passwords from standard input: the old one on the first line, the new one on the second
    #[arg(long)]
    password_stdin: bool,
}

impl NewPasswordSource {
    pub(super) fn read(&self) -> Result<(String, String), Failure> {
        let (old, new) = if self.password_stdin {
            two_lines(io::stdin().lock())?
        } else if io::stdin().is_terminal() {
            let old = prompt("Password until now: ")?;
            let new = prompt("New password: ")?;
            if prompt("The same again: ")? != new {
                return Err(Failure::Usage("the two passwords differ".into()));
            }
            (old, new)
        } else {
            let how = "pass both passwords on standard input, a line each, with --password-stdin";
            return Err(Failure::Usage(how.into()));
        };
        if new.is_empty() { Err(Failure::Usage("the new password is empty".into())) } else { Ok((old, new)) }
    }
}

impl PasswordSource {
    fn read(&self, twice: bool) -> Result<String, Failure> {
        let password = if self.password_stdin {
            first_line(io::stdin().lock())?
        } else if io::stdin().is_terminal() {
            ask(twice)?
        } else {
            let how = "pass the password on standard input: echo PASSWORD | carrel ... --password-stdin";
            return Err(Failure::Usage(how.into()));
        };
        if password.is_empty() { Err(Failure::Usage("the password is empty".into())) } else { Ok(password) }
    }
}

fn first_line(input: impl Read) -> Result<String, Failure> {
    lines(input).map(|[first, _]| first)
}

fn two_lines(input: impl Read) -> Result<(String, String), Failure> {
    lines(input).map(|[first, second]| (first, second))
}

fn lines(input: impl Read) -> Result<[String; 2], Failure> {
    let failed = |source| Failure::Local { doing: "reading the password".into(), source };
    let mut bytes = Vec::new();
    input.take(LONGEST_PASSWORD_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut next = || {
        let line = lines.next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8(line.to_vec()).map_err(|_| Failure::Usage("the password is not UTF-8 text".into()))
    };
    Ok([next()?, next()?])
}

fn prompt(text: &str) -> Result<String, Failure> {
    rpassword::prompt_password(text).map_err(|source| Failure::Local { doing: "reading the password".into(), source })
}

fn ask(twice: bool) -> Result<String, Failure> {
    let password = prompt("Password: ")?;
    if twice && prompt("The same again: ")? != password {
        return Err(Failure::Usage("the two passwords differ".into()));
    }
    Ok(password)
}

pub(super) fn role_parser() -> impl TypedValueParser<Value = v1::Role> {
    PossibleValuesParser::new(["patron", "librarian", "admin", "auditor", "kiosk"]).map(|name| {
        v1::Role::from_str_name(&format!("ROLE_{}", name.to_uppercase())).expect("every name above is a role")
    })
}

fn role_words(user: &v1::User) -> String {
    words(user.role().as_str_name(), "ROLE_")
}

fn unread_note(unread_count: i32) -> String {
    if unread_count == 0 {
        return String::new();
    }
    format!("\n{}: carrel inbox", counted(unread_count.into(), "unread item", "unread items"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_as_it_stands() {
        let read = |text: &[u8]| first_line(text);
        assert_eq!(read(b" correct horse \n").expect("text"), " correct horse ");
        assert_eq!(read(b"secret").expect("text"), "secret");
        assert_eq!(read(b"secret\r\nsecond line\n").expect("text"), "secret");
        assert!(matches!(read(b"\xff\n"), Err(Failure::Usage(_))));
        assert_eq!(two_lines(b"old\r\nnew\n".as_slice()).expect("text"), ("old".to_owned(), "new".to_owned()));
    }
}
