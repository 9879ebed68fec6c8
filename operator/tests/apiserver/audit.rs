//! What was asked of the API server, by its own account.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::plane::Plane;

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub right: Right,
    pub namespace: String,
    pub code: u64,
    pub at: Timestamp,
}

/// What it takes to be let through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub verb: String,
    pub group: String,
    /// With its subresource, as a Role names it.
    pub resource: String,
}

impl Right {
    fn new(verb: &str, group: &str, resource: &str) -> Self {
        Self { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned() }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(f, "{} {} ({group})", self.verb, self.resource)
    }
}

/// Everything this user has asked for so far.
pub fn asked_by(plane: &Plane, user: &str) -> Vec<Asked> {
    let log = std::fs::read_to_string(plane.dir.join("audit.log")).expect("an audit log");
    // The last line may still be being written.
    let whole = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.filter(|event| event["user"]["username"] == user).filter_map(|event| asked(&event)).collect()
}

fn asked(event: &Value) -> Option<Asked> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    // A watch is told of when it begins and when it ends; it counts once.
    let counts = if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    if event["stage"] != counts {
        return None;
    }
    let object = &event["objectRef"];
    let (resource, sub) = (text(&object["resource"]), text(&object["subresource"]));
    let resource = if sub.is_empty() { resource } else { format!("{resource}/{sub}") };
    Some(Asked {
        right: Right { verb, group: text(&object["apiGroup"]), resource },
        namespace: text(&object["namespace"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
        at: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
    })
}

/// The rights that were used. To apply what is not there takes the right to create it as well.
pub fn used(asked: &[Asked]) -> BTreeSet<Right> {
    let created = asked.iter().filter(|asked| asked.right.verb == "patch" && asked.code == 201);
    let created = created.map(|asked| Right { verb: "create".to_owned(), ..asked.right.clone() });
    asked.iter().map(|asked| asked.right.clone()).chain(created).collect()
}

/// The rights that a Role gives.
pub fn given() -> BTreeSet<Right> {
    let all =
        carrel_operator::role::RIGHTS.iter().chain([&carrel_operator::role::SECRETS, &carrel_operator::role::LEASES]);
    all.flat_map(|right| {
        right
            .resources
            .iter()
            .flat_map(|resource| right.verbs.iter().map(|verb| Right::new(verb, right.group, resource)))
    })
    .collect()
}
