//! The nodes' account: it may do nothing, and its token is not even mounted.

use serde_json::json;

use super::{Blueprint, Child, Kind};

pub(super) fn service_account(blueprint: &Blueprint<'_>) -> Child {
    let name = blueprint.name.clone();
    let body = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": blueprint.metadata(&name),
        "automountServiceAccountToken": false,
    });
    Child { kind: Kind::ServiceAccount, name, body }
}
