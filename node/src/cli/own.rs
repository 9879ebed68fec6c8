//! One's own account: the password, where one is logged in, the calendar, and whose announcements one hears.

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use clap::Subcommand;
use jiff::tz::TimeZone;

use super::accounts::NewPasswordSource;
use super::context::Context;
use super::errors::Failure;
use super::names::{self, short};
use super::table::table;
use super::time::shown;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Change your password; you are logged out everywhere else
    #[command(after_help = "Example:\n  printf 'the old one\\nthe new one\\n' | carrel password --password-stdin")]
    Password {
        #[command(flatten)]
        passwords: NewPasswordSource,
    },
    /// List where you are logged in, or end one of these sessions
    Sessions {
        #[command(subcommand)]
        command: Option<Sessions>,
    },
    /// Make an address for the calendar of your telephone, or make it worthless
    #[command(subcommand)]
    Calendar(Calendar),
    /// Say whose announcements you want to hear; without a branch, list them
    #[command(after_help = "\
You follow a branch from the first seat on that you take there.

Examples:
  carrel follow main law     (these and no others)
  carrel follow --none")]
    Follow {
        /// Branches, for example main
        #[arg(value_name = "B", value_parser = names::branch)]
        branches: Vec<String>,
        /// None at all
        #[arg(long, conflicts_with = "branches")]
        none: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// End a session: whoever has it must log in again
    Revoke {
        /// Its name, from the list
        #[arg(value_name = "SESSION")]
        session: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Calendar {
    /// Make an address; another one makes the one before it worthless
    Create,
    /// Make the address worthless
    Revoke,
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Password { passwords } => password(context, &passwords).await,
        Command::Sessions { command: None } => sessions(context).await,
        Command::Sessions { command: Some(Sessions::Revoke { session }) } => revoke(context, &session).await,
        Command::Calendar(Calendar::Create) => create_feed(context).await,
        Command::Calendar(Calendar::Revoke) => revoke_feed(context).await,
        Command::Follow { branches, none } if branches.is_empty() && !none => followed(context).await,
        Command::Follow { branches, none: _ } => follow(context, branches).await,
    }
}

async fn password(context: &Context, passwords: &NewPasswordSource) -> Result<(), Failure> {
    let (password, new_password) = passwords.read()?;
    let request = v1::ChangePasswordRequest { password, new_password };
    let response = context.wait(context.client()?.change_password(request)).await?;
    context.answer(&response, || "The password is changed. You are logged out everywhere else.".into())
}

async fn sessions(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.list_sessions(v1::ListSessionsRequest::default())).await?;
    context.answer(&response, || {
        let here = TimeZone::system();
        let row = |session: &v1::Session| {
            let note = if session.current { "this one" } else { "" };
            let since = shown(session.create_time.as_ref(), &here);
            [short(&session.name), since, shown(session.expire_time.as_ref(), &here), note.to_owned()]
        };
        table(["SESSION", "SINCE", "UNTIL", ""], response.sessions.iter().map(row).collect(), "None.")
    })
}

async fn revoke(context: &Context, session: &str) -> Result<(), Failure> {
    let name = format!("sessions/{}", session.trim_start_matches("sessions/"));
    let request = v1::RevokeSessionRequest { request_id: new_request_id(), name };
    let response = context.wait(context.client()?.revoke_session(request)).await?;
    context.answer(&response, || "The session has ended.".into())
}

async fn create_feed(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.create_calendar_feed(v1::CreateCalendarFeedRequest {})).await?;
    context.answer(&response, || {
        let at = context.endpoint().trim_end_matches('/');
        format!(
            "Subscribe to {at}{}\nWhoever has this address sees your reservations; it is shown this once.",
            response.path
        )
    })
}

async fn revoke_feed(context: &Context) -> Result<(), Failure> {
    let request = v1::RevokeCalendarFeedRequest { request_id: new_request_id() };
    let response = context.wait(context.client()?.revoke_calendar_feed(request)).await?;
    context.answer(&response, || "The address leads nowhere any more.".into())
}

async fn followed(context: &Context) -> Result<(), Failure> {
    let request = v1::GetNotificationPreferencesRequest::default();
    let response = context.wait(context.client()?.get_notification_preferences(request)).await?;
    context.answer(&response, || {
        let followed = response.preferences.clone().unwrap_or_default().followed_branches;
        let rows = followed.iter().map(|branch| [short(branch)]).collect();
        table(["BRANCH"], rows, "You hear the announcements of no branch, only those to all.")
    })
}

async fn follow(context: &Context, followed_branches: Vec<String>) -> Result<(), Failure> {
    let preferences = Some(v1::NotificationPreferences { followed_branches });
    let request = v1::UpdateNotificationPreferencesRequest { request_id: new_request_id(), preferences };
    let response = context.wait(context.client()?.update_notification_preferences(request)).await?;
    context.answer(&response, || "Noted. What is said to all comes in any case.".into())
}
