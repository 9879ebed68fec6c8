//! What is typed into the chat, and what it means.

use super::super::names::{self, short};

pub(super) const HELP: &str = "\
>> NAME: TEXT           a message; to several: >> ben,cleo: see you
/open NAME              that conversation with its history; what is typed then goes there (Tab: the next one)
/close                  back to everything
TEXT, /announce TEXT    an announcement to all (librarians and admins)
/list [GLOB]            accounts whose name fits
/conversations          with whom you have written
/delete MESSAGE         a message, for example /delete 1207-0; with your own name your account
/logout, /quit          end the session; leave and stay logged in";

/// What was typed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Nothing,
    To(Vec<String>, String),
    /// To whomever it is that one writes with at the moment: nobody in particular is everybody.
    Plain(String),
    ToAll(String),
    List(String),
    Conversations,
    Open(Vec<String>),
    Close,
    DeleteMessage(String),
    DeleteAccount(String),
    LogOut,
    Quit,
    Help,
    /// With what is wrong.
    Unclear(String),
}

impl Said {
    pub(super) fn read(text: &str, own_name: &str) -> Said {
        let text = text.trim();
        if let Some(letter) = text.strip_prefix(">>") {
            let Some((people, text)) = letter.split_once(':') else {
                return Said::Unclear("say to whom and what: >> ben: see you at ten".into());
            };
            return match people_of(people) {
                Ok(people) if !text.trim().is_empty() => Said::To(people, text.trim().to_owned()),
                Ok(_) => Said::Unclear("say something after the colon".into()),
                Err(problem) => Said::Unclear(problem),
            };
        }
        let Some(command) = text.strip_prefix('/') else {
            return if text.is_empty() { Said::Nothing } else { Said::Plain(text.to_owned()) };
        };
        let (command, rest) =
            command.split_once(char::is_whitespace).map_or((command, ""), |(command, rest)| (command, rest.trim()));
        match (command, rest) {
            ("announce", "") => Said::Unclear("say what to announce: /announce we close at eight".into()),
            ("announce", text) => Said::ToAll(text.to_owned()),
            ("list", glob) => Said::List(glob.to_owned()),
            ("conversations", "") => Said::Conversations,
            ("open", "") => Said::Unclear("say with whom: /open ben".into()),
            ("open", people) => people_of(people).map_or_else(Said::Unclear, Said::Open),
            ("close", "") => Said::Close,
            ("delete", name) if name == short(own_name) => Said::DeleteAccount(own_name.to_owned()),
            ("delete", message) => match names::message(message) {
                Ok(message) => Said::DeleteMessage(message),
                Err(problem) => Said::Unclear(problem),
            },
            ("logout", "") => Said::LogOut,
            ("quit", "") => Said::Quit,
            ("help", "") => Said::Help,
            _ => Said::Unclear(format!("nobody knows /{command} {rest}: /help says what there is")),
        }
    }
}

fn people_of(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|name| names::user(name.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        let said = |line: &str| Said::read(line, "users/amy");
        let ben = || vec!["users/ben".to_owned()];
        assert_eq!(said(">> ben: see you: at ten"), Said::To(ben(), "see you: at ten".into()));
        assert_eq!(said(">>ben, cleo:hello"), Said::To(vec!["users/ben".into(), "users/cleo".into()], "hello".into()));
        assert_eq!(said(">> ben: two\nlines\n"), Said::To(ben(), "two\nlines".into()));
        assert_eq!(said("we close\nat eight"), Said::Plain("we close\nat eight".into()));
        assert_eq!(said("/announce we close at eight"), Said::ToAll("we close at eight".into()));
        assert_eq!(said("  "), Said::Nothing);
        assert_eq!((said("/list"), said("/list a*")), (Said::List(String::new()), Said::List("a*".into())));
        assert_eq!((said("/open ben"), said("/close")), (Said::Open(ben()), Said::Close));
        assert_eq!(said("/delete 1207-0"), Said::DeleteMessage("messages/1207-0".into()));
        assert_eq!(said("/delete amy"), Said::DeleteAccount("users/amy".into()));
        assert_eq!((said("/logout"), said("/quit"), said("/help")), (Said::LogOut, Said::Quit, Said::Help));
        for unclear in [">> ben", ">> ben:", ">> a b: hello", "/delete", "/delete ben", "/dance", "/open", "/announce"]
        {
            assert!(matches!(said(unclear), Said::Unclear(_)), "{unclear}");
        }
    }
}
