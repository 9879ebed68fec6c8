//! Who may, where somebody may not: the cluster says no more than that, so as not to tell of what is not theirs.

use carrel_proto::client::Refusal;

/// What to say besides, by the command that was refused.
pub(super) fn advice(refusal: &Refusal, command: &str) -> Vec<String> {
    if refusal.reason != "NOT_PERMITTED" {
        return Vec::new();
    }
    let who = who_may(command).map(str::to_owned);
    who.into_iter().chain(["Your role, and its branches, are what carrel whoami shows.".to_owned()]).collect()
}

fn who_may(command: &str) -> Option<&'static str> {
    Some(match command {
        "broadcast" => {
            "Librarians announce to all and to branches of theirs (--branch B), admins also to a role (--role); anybody \
             writes to people with: carrel send"
        }
        "users list" => "Librarians and admins list accounts.",
        "users delete" => "You delete your own account; those of others are deleted by admins.",
        "users set-role" => "Admins give roles.",
        "users suspend" | "users unsuspend" | "users waive" => {
            "Librarians do this for patrons, admins for everybody; nobody does it for themselves."
        }
        "users strikes" => {
            "You see your own with: carrel users strikes; those of others are for librarians and admins."
        }
        "users needs-accessible" => "Librarians and admins say so, for others.",
        "seats close" | "seats reopen" | "seats reservations" => {
            "Librarians do this in branches of theirs, admins everywhere."
        }
        "seats code" => "Kiosks, librarians of the branch and admins see codes.",
        "seats rotate-codes" => "Admins do this.",
        "report utilization" | "report no-shows" | "report waits" | "report peak" | "report export" => {
            "Admins and auditors see reports of everything, librarians of a branch of theirs; with names admins alone."
        }
        "catalog import" | "catalog export" => "Admins change the catalogue.",
        "webhooks list" | "webhooks add" | "webhooks rotate" | "webhooks remove" => "Admins look after webhooks.",
        "audit" => {
            "You see what concerns you with: carrel audit; librarians see their branches, admins and auditors everything."
        }
        "reserve" | "hold" | "series" | "why" => {
            "Everybody books for themselves; librarians of the branch and admins for others (--for); kiosks and auditors \
             book nothing."
        }
        "group" => "You book for a group that you are in; librarians of the branch and admins for any.",
        "walk-in" => "You sit down for yourself; librarians of the branch, kiosks and admins seat others (--for).",
        "check-in" | "check-out" | "back" | "away" | "extend" | "move" | "cancel" | "confirm" | "reservation show" => {
            "A reservation is for whoever has it, and for librarians of its branch and admins."
        }
        "offers accept" | "offers decline" => "An offer is for whoever it was made to.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_is_said_of_a_command_is_said_of_one_that_there_is() {
        let commands = crate::cli::Cli::command();
        for path in ["broadcast", "users set-role", "seats close", "report peak", "webhooks add", "offers accept"] {
            let found = path.split(' ').try_fold(&commands, |command, word| command.find_subcommand(word));
            assert!(found.is_some() && who_may(path).is_some(), "{path}");
        }
    }
}
