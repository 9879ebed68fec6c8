//! Accounts: who registers, and what staff do with people.

use carrel_domain::account::{PasswordHash, Role};
use carrel_domain::id::ClaimId;
use carrel_domain::request::Action;
use carrel_domain::text::{Glob, Slug, UserName};
use carrel_proto::v1;

use super::{instant, optional_user};
use crate::convert::catalog::shown;
use crate::convert::invalid::{Fields, Invalid};
use crate::convert::names;

/// Nobody looks after more branches than there may be.
const BRANCHES_MAX: usize = carrel_domain::catalog::BRANCHES_MAX;
pub const PASSWORD_BYTES_MIN: usize = 8;
/// Longer ones would only cost time: the hash is no longer for it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// The name and the password to hash for it.
pub fn register(request: v1::RegisterRequest) -> Result<(UserName, String), Invalid> {
    let v1::RegisterRequest { request_id: _, user_id, password } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::user_id("user_id", &user_id));
    let length = password.len();
    let password = fields.take(if (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&length) {
        Ok(password)
    } else {
        let problem = format!("it must be {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes long, and has {length}");
        Err(Invalid::field("password", problem))
    });
    match (name, password) {
        (Some(name), Some(password)) => Ok((name, password)),
        _ => Err(fields.into_invalid()),
    }
}

/// The password that was, and the one to hash.
pub fn change_password(request: v1::ChangePasswordRequest) -> Result<(String, String), Invalid> {
    let v1::ChangePasswordRequest { password, new_password } = request;
    let length = new_password.len();
    if (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&length) {
        return Ok((password, new_password));
    }
    let problem = format!("it must be {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes long, and has {length}");
    Err(Invalid::field("new_password", problem))
}

pub fn revoke_session(request: &v1::RevokeSessionRequest) -> Result<Action, Invalid> {
    Ok(Action::RevokeSession { session: names::parse_session("name", &request.name)? })
}

/// Whose changes to look for, and those of which claim.
pub fn list_audit_events(request: &v1::ListAuditEventsRequest) -> Result<(Option<UserName>, Option<ClaimId>), Invalid> {
    let v1::ListAuditEventsRequest { user, reservation, page_size: _, page_token: _, read: _ } = request;
    let mut fields = Fields::default();
    let user = fields.take(optional_user("user", user));
    let claim = fields.take(match reservation.as_str() {
        "" => Ok(None),
        reservation => names::parse_reservation("reservation", reservation).map(Some),
    });
    match (user, claim) {
        (Some(user), Some(claim)) => Ok((user, claim)),
        _ => Err(fields.into_invalid()),
    }
}

#[must_use]
pub fn registration(name: UserName, password: PasswordHash) -> Action {
    Action::Register { name, password }
}

pub fn users_glob(filter: &str) -> Result<Glob, Invalid> {
    let filter = if filter.is_empty() { "*" } else { filter };
    Glob::new(filter).map_err(|problem| {
        Invalid::field("filter", format!("{}: {problem}; '*' stands for any run, '?' for one character", shown(filter)))
    })
}

pub fn delete_user(request: &v1::DeleteUserRequest) -> Result<Action, Invalid> {
    Ok(Action::DeleteUser { name: names::parse_user("name", &request.name)? })
}

pub fn set_user_role(request: &v1::SetUserRoleRequest) -> Result<Action, Invalid> {
    let v1::SetUserRoleRequest { request_id: _, name, role, branches } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::parse_user("name", name));
    let role = fields.take(self::role(*role, branches));
    match (name, role) {
        (Some(name), Some(role)) => Ok(Action::SetRole { name, role }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn suspend_user(request: &v1::SuspendUserRequest) -> Result<Action, Invalid> {
    let v1::SuspendUserRequest { request_id: _, name, until, reason } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::parse_user("name", name));
    let until = until.ok_or_else(|| Invalid::field("until", "it is missing"));
    let until = fields.take(until.and_then(|until| instant("until", until)));
    let reason = fields.take(super::reason("reason", reason));
    match (name, until, reason) {
        (Some(name), Some(until), Some(reason)) => Ok(Action::Suspend { name, until, reason }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn unsuspend_user(request: &v1::UnsuspendUserRequest) -> Result<Action, Invalid> {
    let v1::UnsuspendUserRequest { request_id: _, name, reason } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::parse_user("name", name));
    let reason = fields.take(super::reason("reason", reason));
    match (name, reason) {
        (Some(name), Some(reason)) => Ok(Action::Unsuspend { name, reason }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn waive_strike(request: &v1::WaiveStrikeRequest) -> Result<Action, Invalid> {
    let v1::WaiveStrikeRequest { request_id: _, name, reservation, reason } = request;
    let mut fields = Fields::default();
    let name = fields.take(names::parse_user("name", name));
    let claim = fields.take(names::parse_reservation("reservation", reservation));
    let reason = fields.take(super::reason("reason", reason));
    match (name, claim, reason) {
        (Some(name), Some(claim), Some(reason)) => Ok(Action::WaiveStrike { name, claim, reason }),
        _ => Err(fields.into_invalid()),
    }
}

pub fn set_accessibility(request: &v1::SetAccessibilityRequest) -> Result<Action, Invalid> {
    let v1::SetAccessibilityRequest { request_id: _, name, needs_accessible } = request;
    let name = names::parse_user("name", name)?;
    Ok(Action::SetAccessibility { name, needs_accessible: *needs_accessible })
}

/// None: the caller.
pub fn list_strikes(request: &v1::ListStrikesRequest) -> Result<Option<UserName>, Invalid> {
    optional_user("name", &request.name)
}

fn role(number: i32, branches: &[String]) -> Result<Role<Slug>, Invalid> {
    let role = match v1::Role::try_from(number) {
        Ok(v1::Role::Librarian) => {
            if branches.is_empty() || branches.len() > BRANCHES_MAX {
                let problem = format!("a librarian looks after 1 to {BRANCHES_MAX} branches: name them");
                return Err(Invalid::field("branches", problem));
            }
            let of = |(index, name): (usize, &String)| names::parse_branch(&format!("branches[{index}]"), name);
            let read = branches.iter().enumerate().map(of).collect::<Result<_, _>>()?;
            return Ok(Role::Librarian(read));
        }
        Ok(v1::Role::Patron) => Role::Patron,
        Ok(v1::Role::Admin) => Role::Admin,
        Ok(v1::Role::Auditor) => Role::Auditor,
        Ok(v1::Role::Kiosk) => Role::Kiosk,
        Ok(v1::Role::Unspecified) | Err(_) => {
            let problem = "there is no such role: it is one of PATRON, LIBRARIAN, ADMIN, AUDITOR, KIOSK";
            return Err(Invalid::field("role", problem));
        }
    };
    if branches.is_empty() {
        Ok(role)
    } else {
        Err(Invalid::field("branches", "only a librarian looks after branches: leave them out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_librarians_have_branches() {
        let branches = ["branches/main".to_owned()];
        assert!(role(v1::Role::Librarian.into(), &branches).is_ok());
        assert!(role(v1::Role::Librarian.into(), &[]).is_err());
        assert!(role(v1::Role::Patron.into(), &branches).is_err());
        assert!(role(v1::Role::Unspecified.into(), &[]).is_err());
        assert!(role(99, &[]).is_err());
    }
}
