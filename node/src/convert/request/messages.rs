//! Letters, announcements, and whose letters one does not want.

use carrel_domain::account::RoleName;
use carrel_domain::catalog::BRANCHES_MAX;
use carrel_domain::inbox::RECIPIENTS_MAX;
use carrel_domain::mail::{MailCode, MailWishes};
use carrel_domain::request::{Action, Audience};
use carrel_domain::text::{MailAddress, MessageText, UserName};
use carrel_proto::v1;

use crate::convert::invalid::{Fields, Invalid};
use crate::convert::names;

pub fn send_message(request: &v1::SendMessageRequest) -> Result<Action, Invalid> {
    let v1::SendMessageRequest { request_id: _, recipients, text } = request;
    let mut fields = Fields::default();
    let recipients = fields.take(people("recipients", recipients));
    let text = fields.take(message_text(text));
    match (recipients, text) {
        (Some(recipients), Some(text)) => Ok(Action::SendMessage { recipients, text }),
        _ => Err(fields.into_invalid()),
    }
}

fn people(field: &str, names: &[String]) -> Result<Vec<UserName>, Invalid> {
    if names.is_empty() || names.len() > RECIPIENTS_MAX {
        let problem = format!("a message goes to 1 to {RECIPIENTS_MAX} people, and these are {}", names.len());
        return Err(Invalid::field(field, problem));
    }
    let mut fields = Fields::default();
    let of = |(index, name): (usize, &String)| names::parse_user(&format!("{field}[{index}]"), name);
    let read: Vec<_> = names.iter().enumerate().filter_map(|name| fields.take(of(name))).collect();
    if read.len() == names.len() { Ok(read) } else { Err(fields.into_invalid()) }
}

pub fn broadcast(request: &v1::BroadcastRequest) -> Result<Action, Invalid> {
    use v1::broadcast_request::Audience as Wire;
    let v1::BroadcastRequest { request_id: _, text, audience } = request;
    let mut fields = Fields::default();
    let text = fields.take(message_text(text));
    let audience = fields.take(match audience {
        None => Ok(None),
        Some(Wire::Branch(branch)) => {
            names::parse_branch("branch", branch).map(|branch| Some(Audience::Branch(branch)))
        }
        Some(Wire::Role(role)) => role_name(*role).map(|role| Some(Audience::Role(role))),
    });
    match (text, audience) {
        (Some(text), Some(Some(audience))) => Ok(Action::Announce { audience, text }),
        (Some(text), Some(None)) => Ok(Action::Broadcast { text }),
        _ => Err(fields.into_invalid()),
    }
}

fn role_name(number: i32) -> Result<RoleName, Invalid> {
    match v1::Role::try_from(number) {
        Ok(v1::Role::Patron) => Ok(RoleName::Patron),
        Ok(v1::Role::Librarian) => Ok(RoleName::Librarian),
        Ok(v1::Role::Admin) => Ok(RoleName::Admin),
        Ok(v1::Role::Auditor) => Ok(RoleName::Auditor),
        Ok(v1::Role::Kiosk) => Ok(RoleName::Kiosk),
        Ok(v1::Role::Unspecified) | Err(_) => {
            let problem = "there is no such role: it is one of PATRON, LIBRARIAN, ADMIN, AUDITOR, KIOSK";
            Err(Invalid::field("role", problem))
        }
    }
}

/// The branches that somebody wants to hear.
pub fn update_notification_preferences(request: &v1::UpdateNotificationPreferencesRequest) -> Result<Action, Invalid> {
    const FIELD: &str = "preferences.followed_branches";
    let v1::UpdateNotificationPreferencesRequest { request_id: _, preferences } = request;
    let missing = || Invalid::field("preferences", "they are missing: say whose announcements are to be heard");
    let v1::NotificationPreferences { followed_branches } = preferences.as_ref().ok_or_else(missing)?;
    if followed_branches.len() > BRANCHES_MAX {
        return Err(Invalid::field(FIELD, format!("there are no more than {BRANCHES_MAX} branches to follow")));
    }
    let of = |(index, name): (usize, &String)| names::parse_branch(&format!("{FIELD}[{index}]"), name);
    let branches = followed_branches.iter().enumerate().map(of).collect::<Result<_, _>>()?;
    Ok(Action::SetFollowed { branches })
}

/// What somebody is told by e-mail. The code is for an address that has to be proven.
pub fn update_mail_delivery(request: &v1::UpdateMailDeliveryRequest, code: MailCode) -> Result<Action, Invalid> {
    let v1::UpdateMailDeliveryRequest { request_id: _, delivery } = request;
    let missing = || Invalid::field("delivery", "it is missing: without an address, no mail is sent");
    let v1::MailDelivery { address, notices, messages, announcements, confirmed: _, given_up_count: _ } =
        delivery.as_ref().ok_or_else(missing)?;
    if address.is_empty() {
        return Ok(Action::SetMail { wanted: None, code });
    }
    let address = MailAddress::new(address).map_err(|problem| Invalid::field("delivery.address", problem))?;
    let (notices, messages, announcements) = (*notices, *messages, *announcements);
    Ok(Action::SetMail { wanted: Some((address, MailWishes { notices, messages, announcements })), code })
}

fn message_text(text: &str) -> Result<MessageText, Invalid> {
    MessageText::new(text).map_err(|problem| Invalid::field("text", problem))
}

pub fn delete_message(request: &v1::DeleteMessageRequest) -> Result<Action, Invalid> {
    Ok(Action::DeleteMessage { message: names::parse_message("name", &request.name)? })
}

pub fn block_user(request: &v1::BlockUserRequest) -> Result<Action, Invalid> {
    Ok(Action::Block { name: names::parse_user("name", &request.name)? })
}

pub fn unblock_user(request: &v1::UnblockUserRequest) -> Result<Action, Invalid> {
    Ok(Action::Unblock { name: names::parse_user("name", &request.name)? })
}

pub fn report_message(request: &v1::ReportMessageRequest) -> Result<Action, Invalid> {
    let v1::ReportMessageRequest { request_id: _, name, reason } = request;
    let mut fields = Fields::default();
    let message = fields.take(names::parse_message("name", name));
    let reason = fields.take(super::reason("reason", reason));
    match (message, reason) {
        (Some(message), Some(reason)) => Ok(Action::ReportMessage { message, reason }),
        _ => Err(fields.into_invalid()),
    }
}

/// Whose messages are listed.
#[derive(Debug)]
pub enum With {
    Anybody,
    Person(UserName),
    Exactly(Vec<UserName>),
}

pub fn list_messages(request: &v1::ListMessagesRequest) -> Result<With, Invalid> {
    let v1::ListMessagesRequest { with, page_size: _, page_token: _, read: _, participants } = request;
    match (with.as_str(), participants.as_slice()) {
        ("", []) => Ok(With::Anybody),
        (with, []) => names::parse_user("with", with).map(With::Person),
        ("", participants) => people("participants", participants).map(With::Exactly),
        (_, _) => Err(Invalid::field("participants", "they are instead of with: leave one of them out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_a_request_is_told_at_once() {
        let request = v1::SendMessageRequest {
            recipients: vec!["users/amy".to_owned(), "ben".to_owned(), "users/".to_owned()],
            text: "a\u{7}b".to_owned(),
            ..Default::default()
        };
        let invalid = send_message(&request).expect_err("three things are wrong");
        let fields: Vec<_> = invalid.fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(fields, ["recipients[1]", "recipients[2]", "text"]);
    }
}
