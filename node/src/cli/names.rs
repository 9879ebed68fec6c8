//! Names as people type them, short or long, and as they are shown again.

use std::str::FromStr;

/// A seat, always with its branch: labels are unique only within one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SeatName {
    /// `branches/main`
    pub(super) branch: String,
    /// `branches/main/seats/r-101`
    pub(super) name: String,
}

/// `main/r-101` or `branches/main/seats/r-101`.
impl FromStr for SeatName {
    type Err = String;

    fn from_str(text: &str) -> Result<SeatName, String> {
        let (branch, seat) = match *text.split('/').collect::<Vec<_>>() {
            ["branches", branch, "seats", seat] | [branch, seat] => (branch, seat),
            _ => ("", ""),
        };
        if branch.is_empty() || seat.is_empty() {
            return Err("write a seat as BRANCH/SEAT, for example main/r-101".into());
        }
        Ok(SeatName { branch: format!("branches/{branch}"), name: format!("branches/{branch}/seats/{seat}") })
    }
}

/// An area, whose branch may be left out where another argument names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct AreaName {
    branch: Option<String>,
    area: String,
}

/// `hall`, `main/hall` or `branches/main/areas/hall`.
impl FromStr for AreaName {
    type Err = String;

    fn from_str(text: &str) -> Result<AreaName, String> {
        let (branch, area) = match *text.split('/').collect::<Vec<_>>() {
            ["branches", branch, "areas", area] | [branch, area] => (Some(branch), area),
            [area] => (None, area),
            _ => (None, ""),
        };
        if area.is_empty() || branch.is_some_and(str::is_empty) {
            return Err("write an area as AREA or BRANCH/AREA, for example main/hall".into());
        }
        Ok(AreaName { branch: branch.map(|branch| format!("branches/{branch}")), area: area.to_owned() })
    }
}

/// An area with its branch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct AreaPath {
    /// `branches/main`
    pub(super) branch: String,
    /// `branches/main/areas/hall`
    pub(super) name: String,
}

/// `main/hall` or `branches/main/areas/hall`.
impl FromStr for AreaPath {
    type Err = String;

    fn from_str(text: &str) -> Result<AreaPath, String> {
        match text.parse::<AreaName>() {
            Ok(AreaName { branch: Some(branch), area }) => {
                let name = format!("{branch}/areas/{area}");
                Ok(AreaPath { branch, name })
            }
            Ok(_) | Err(_) => Err("write an area as BRANCH/AREA, for example main/hall".into()),
        }
    }
}

impl AreaName {
    /// The full name, in this branch unless it names one itself.
    pub(super) fn within(&self, branch: &str) -> String {
        format!("{}/areas/{}", self.branch.as_deref().unwrap_or(branch), self.area)
    }
}

/// `main` or `branches/main`.
pub(super) fn branch(text: &str) -> Result<String, String> {
    long("branches", text).ok_or_else(|| "write a branch by its name, for example main".into())
}

/// `amy` or `users/amy`.
pub(super) fn user(text: &str) -> Result<String, String> {
    long("users", text).ok_or_else(|| "write a person by the account's name, for example amy".into())
}

/// `amy` or `users/amy`, as the name to log in with.
pub(super) fn user_id(text: &str) -> Result<String, String> {
    user(text).map(|name| id(&name).to_owned())
}

/// `17` or `reservations/17`.
pub(super) fn reservation(text: &str) -> Result<String, String> {
    numbered("reservations", text).ok_or_else(|| "write a reservation by its number, for example 17".into())
}

/// `5` or `waitlistEntries/5`.
pub(super) fn waitlist_entry(text: &str) -> Result<String, String> {
    numbered("waitlistEntries", text).ok_or_else(|| "write a waitlist entry by its number, for example 5".into())
}

/// `1207-0` or `messages/1207-0`.
pub(super) fn message(text: &str) -> Result<String, String> {
    let is_number = id(text).chars().all(|letter| letter.is_ascii_digit() || letter == '-');
    long("messages", text)
        .filter(|_| is_number)
        .ok_or_else(|| "write a message by its number, for example 1207-0".into())
}

/// The last part: `amy` of `users/amy`.
pub(super) fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The ids without the collections: `main/r-101` of `branches/main/seats/r-101`.
pub(super) fn short(name: &str) -> String {
    let ids: Vec<&str> = name.split('/').skip(1).step_by(2).collect();
    if ids.is_empty() { name.to_owned() } else { ids.join("/") }
}

fn numbered(collection: &str, text: &str) -> Option<String> {
    long(collection, text).filter(|name| id(name).bytes().all(|byte| byte.is_ascii_digit()))
}

fn long(collection: &str, text: &str) -> Option<String> {
    let id = text.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    let is_one = !id.is_empty() && !id.contains(|letter: char| letter == '/' || letter.is_whitespace());
    is_one.then(|| format!("{collection}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names_are_the_same() {
        for text in ["main/r-101", "branches/main/seats/r-101"] {
            let seat: SeatName = text.parse().expect("a seat");
            assert_eq!((seat.branch.as_str(), seat.name.as_str()), ("branches/main", "branches/main/seats/r-101"));
        }
        assert_eq!(user("amy"), user("users/amy"));
        assert_eq!(user_id("users/amy").as_deref(), Ok("amy"));
        assert_eq!(reservation("17").as_deref(), Ok("reservations/17"));
        assert_eq!(reservation("reservations/17").as_deref(), Ok("reservations/17"));
        assert_eq!(waitlist_entry("5").as_deref(), Ok("waitlistEntries/5"));
        assert_eq!(message("messages/1207-0").as_deref(), Ok("messages/1207-0"));
        assert_eq!(branch("main"), branch("branches/main"));
    }

    #[test]
    fn an_area_belongs_to_the_branch_beside_it_or_names_its_own() {
        let within = |text: &str| text.parse::<AreaName>().expect("an area").within("branches/main");
        assert_eq!(within("hall"), "branches/main/areas/hall");
        assert_eq!(within("law/hall"), "branches/law/areas/hall");
        assert_eq!(within("branches/law/areas/hall"), "branches/law/areas/hall");
    }

    #[test]
    fn what_cannot_be_a_name_is_not_sent() {
        for text in ["", "r-101", "/r-101", "main/", "a/b/c", "branches/main/areas/hall", "branches/main/seats/"] {
            assert!(text.parse::<SeatName>().is_err(), "{text}");
        }
        for text in ["", "users/", "a/b", "reservations/17", "amy lee"] {
            assert!(user(text).is_err(), "{text}");
        }
        for text in ["", "messages/", "ben", "users/1207-0"] {
            assert!(message(text).is_err(), "{text}");
        }
        for text in ["abc", "-1", "reservations/", "1207-0", "users/17"] {
            assert!(reservation(text).is_err() && waitlist_entry(text).is_err(), "{text}");
        }
        assert!("a/b/c".parse::<AreaName>().is_err());
    }

    #[test]
    fn names_are_shown_short() {
        assert_eq!(short("branches/main/seats/r-101"), "main/r-101");
        assert_eq!(short("users/amy"), "amy");
        assert_eq!(short(""), "");
        assert_eq!(id("reservations/17"), "17");
    }
}
