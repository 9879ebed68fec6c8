//! Out to the world: what somebody is told by e-mail, and programs elsewhere that are told what happens.

use carrel_proto::client::new_request_id;
use carrel_proto::v1;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::context::Context;
use super::errors::Failure;
use super::names::short;
use super::table::table;
use super::time::shown;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether and of what you are told by e-mail; without an address, show how it is
    #[command(after_help = "\
A new address is sent a code, and nothing else before the code has come back. What somebody has written to you is not in
the mail. What came before you asked for it is not sent. A library that has no mail server refuses.

Examples:
  carrel mail amy@example.org                     (notices and that somebody has written)
  carrel mail confirm K7MQ-2QPX-9F3T
  carrel mail amy@example.org --announcements --no-messages
  carrel mail none")]
    Mail(MailArgs),
    /// Programs elsewhere that are told what happens, for admins
    #[command(subcommand)]
    Webhooks(Webhooks),
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct MailArgs {
    #[command(subcommand)]
    command: Option<Confirm>,
    /// Where to, or none
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
    /// Not what becomes of your reservations and waits
    #[arg(long, requires = "address")]
    no_notices: bool,
    /// Not that somebody has written to you
    #[arg(long, requires = "address")]
    no_messages: bool,
    /// Also that there is an announcement
    #[arg(long, requires = "address")]
    announcements: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Confirm {
    /// Give back the code that was sent to your address
    Confirm {
        /// As the mail has it
        #[arg(value_name = "CODE")]
        code: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Webhooks {
    /// List them, and how far behind each is
    List,
    /// Add one; its secret is shown this once
    #[command(after_help = "\
Events are CloudEvents 1.0 in JSON, signed as Standard Webhooks has it, sent by the node that leads, in order and at
least once: webhook-id tells a repetition. There are no names in them. Nodes send where --webhook-networks lets them.

Example:
  carrel webhooks add https://example.org/carrel")]
    Add {
        /// Where events are posted
        #[arg(value_name = "URL")]
        url: String,
    },
    /// Draw another secret, shown this once; the one before is used as well for a day
    Rotate {
        /// From the list
        #[arg(value_name = "WEBHOOK")]
        webhook: String,
    },
    /// Tell it nothing any more
    Remove {
        /// From the list
        #[arg(value_name = "WEBHOOK")]
        webhook: String,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Mail(MailArgs { command: Some(Confirm::Confirm { code }), .. }) => confirm(context, code).await,
        Command::Mail(MailArgs { address: None, .. }) => mail(context).await,
        Command::Mail(MailArgs { command: None, address: Some(address), no_notices, no_messages, announcements }) => {
            let address = if address == "none" { String::new() } else { address };
            let (notices, messages) = (!no_notices, !no_messages);
            let delivery = v1::MailDelivery { address, notices, messages, announcements, ..Default::default() };
            set_mail(context, delivery).await
        }
        Command::Webhooks(Webhooks::List) => list(context).await,
        Command::Webhooks(Webhooks::Add { url }) => add(context, url).await,
        Command::Webhooks(Webhooks::Rotate { webhook }) => rotate(context, &webhook).await,
        Command::Webhooks(Webhooks::Remove { webhook }) => remove(context, &webhook).await,
    }
}

async fn mail(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.get_mail_delivery(v1::GetMailDeliveryRequest::default())).await?;
    context.answer(&response, || {
        let delivery = response.delivery.clone().unwrap_or_default();
        if delivery.address.is_empty() {
            return "You are told nothing by e-mail.".into();
        }
        let wishes = [
            (delivery.notices, "notices"),
            (delivery.messages, "that somebody has written"),
            (delivery.announcements, "announcements"),
        ];
        let wishes: Vec<&str> = wishes.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, what)| *what).collect();
        let state =
            if delivery.confirmed { "" } else { ", once you have given back the code: carrel mail confirm CODE" };
        let lost = match delivery.given_up_count {
            0 => String::new(),
            count => format!("\n{count} mails could not be delivered."),
        };
        let wishes = if wishes.is_empty() { "nothing".to_owned() } else { wishes.join(", ") };
        format!("To {}{state}: {wishes}.{lost}", delivery.address)
    })
}

async fn set_mail(context: &Context, delivery: v1::MailDelivery) -> Result<(), Failure> {
    let is_none = delivery.address.is_empty();
    let request = v1::UpdateMailDeliveryRequest { request_id: new_request_id(), delivery: Some(delivery) };
    let client = context.client()?;
    let response = context.wait(client.update_mail_delivery(request)).await?;
    let now = context.wait(client.get_mail_delivery(v1::GetMailDeliveryRequest::default())).await?;
    let is_confirmed = now.delivery.is_some_and(|delivery| delivery.confirmed);
    context.answer(&response, || match (is_none, is_confirmed) {
        (true, _) => "You are told nothing by e-mail any more.".into(),
        (false, true) => "Noted.".into(),
        (false, false) => "A code is on its way there. Give it back with: carrel mail confirm CODE".into(),
    })
}

async fn confirm(context: &Context, code: String) -> Result<(), Failure> {
    let request = v1::ConfirmMailAddressRequest { request_id: new_request_id(), code };
    let response = context.wait(context.client()?.confirm_mail_address(request)).await?;
    context.answer(&response, || "The address is yours: mail comes from now on.".into())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let response = context.wait(context.client()?.list_webhooks(v1::ListWebhooksRequest::default())).await?;
    context.answer(&response, || {
        let here = TimeZone::system();
        let row = |webhook: &v1::Webhook| {
            let behind = match &webhook.oldest_undelivered_time {
                None => "up to date".to_owned(),
                some => format!("since {}", shown(some.as_ref(), &here)),
            };
            [short(&webhook.name), webhook.url.clone(), behind, webhook.given_up_count.to_string()]
        };
        let rows = response.webhooks.iter().map(row).collect();
        table(["WEBHOOK", "URL", "UNDELIVERED", "GIVEN UP"], rows, "None.")
    })
}

async fn add(context: &Context, url: String) -> Result<(), Failure> {
    let response = context.wait(context.client()?.create_webhook(v1::CreateWebhookRequest { url })).await?;
    context.answer(&response, || {
        format!(
            "{} is told what happens from now on.\nIts secret, shown this once: {}",
            short(&response.name),
            response.secret
        )
    })
}

async fn rotate(context: &Context, webhook: &str) -> Result<(), Failure> {
    let request = v1::RotateWebhookSecretRequest { name: named(webhook) };
    let response = context.wait(context.client()?.rotate_webhook_secret(request)).await?;
    context.answer(&response, || format!("Its new secret, shown this once: {}", response.secret))
}

async fn remove(context: &Context, webhook: &str) -> Result<(), Failure> {
    let request = v1::DeleteWebhookRequest { request_id: new_request_id(), name: named(webhook) };
    let response = context.wait(context.client()?.delete_webhook(request)).await?;
    context.answer(&response, || "It is told nothing any more.".into())
}

fn named(webhook: &str) -> String {
    format!("webhooks/{}", webhook.trim_start_matches("webhooks/"))
}
