//! Keys: made before the nodes, shown to them, changed without locking anybody out.

use std::collections::BTreeSet;

use carrel_operator::build::Blueprint;
use carrel_operator::certificates::{AdminKeys, Keyring};
use carrel_operator::crd::CarrelCluster;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};

use crate::world::api::ApiServer;
use crate::world::{NAMESPACE, World, secret_text, surroundings, wanted};

fn secured(replicas: i32) -> Value {
    let mut object = wanted(replicas);
    object["spec"]["tls"] = json!({});
    object
}

#[tokio::test]
async fn a_cluster_is_founded_by_mutual_tls_and_its_authority_is_mounted_nowhere() {
    let mut world = World::secured(secured(3)).await;
    world.settle().await;
    assert_eq!(world.nodes.voters().len(), 3);
    let set = world.set().to_string();
    assert!(set.contains("r-peers-tls"), "nodes have their keys");
    assert!(!set.contains("r-authority") && !set.contains("r-admin-tls"), "and no others");
    let config = world.api.read("configmaps", NAMESPACE, "r-config").expect("settings");
    let urls = config["data"]["CARREL_PEER_URLS"].as_str().expect("urls");
    assert_eq!(urls, "https://r-{ordinal}.r-peers.library.svc.cluster.local:7410");
    assert!(secret_text(&world.api, "r-peers-tls", "ca.key").is_none());
}

/// One operator's keyring, and one cluster.
struct Holder {
    keyring: Keyring,
    client: Client,
    cluster: CarrelCluster,
}

impl Holder {
    fn new(api: &ApiServer) -> Self {
        let mut object = secured(3);
        object["metadata"]["uid"] = json!("7d9b6a2e-0000-4000-8000-000000000001");
        let cluster = serde_json::from_value(object).expect("well-formed");
        Self { keyring: Keyring::default(), client: api.client(), cluster }
    }

    async fn keys(&self, now: Timestamp) -> AdminKeys {
        let surroundings = surroundings();
        let blueprint = Blueprint::new(&self.cluster, "carrel:1", &surroundings).expect("it has a uid");
        let keys = self.keyring.keys(&self.client, &blueprint, None, now).await;
        keys.expect("in order").expect("with TLS")
    }

    fn everybody_uses_it(&self) {
        self.keyring.note_use(NAMESPACE, "r", true);
    }
}

fn authorities(api: &ApiServer) -> usize {
    secret_text(api, "r-peers-tls", "ca.crt").expect("authorities").matches("BEGIN CERTIFICATE").count()
}

#[tokio::test]
async fn an_authority_is_changed_in_steps_that_each_node_has_followed() {
    let api = ApiServer::default();
    let holder = Holder::new(&api);
    let began = Timestamp::from_second(1_780_000_000).expect("a time");
    let first = holder.keys(began).await;
    let text = |secret: &str, key: &str| secret_text(&api, secret, key).expect("written");
    let (old_authority, old_leaf) = (text("r-authority", "ca.crt"), text("r-peers-tls", "tls.crt"));
    assert_eq!(holder.keys(began).await.fingerprints, first.fingerprints, "nothing changes by looking");

    let later = began + SignedDuration::from_hours(2 * 365 * 24 + 24);
    let both = holder.keys(later).await;
    assert_eq!(authorities(&api), 2, "everybody is to trust both");
    assert_ne!(both.fingerprints, first.fingerprints);
    let name = text("r-authority", "ca.name");
    holder.keys(later).await;
    assert_eq!(authorities(&api), 2, "and nothing more before everybody does");
    assert_ne!(text("r-peers-tls", "tls.crt"), old_leaf, "what was about to expire is new all the same");

    holder.everybody_uses_it();
    let shown = holder.keys(later).await;
    assert_ne!(shown.fingerprints, both.fingerprints, "what the next one signed is shown");
    assert_eq!(authorities(&api), 2, "by somebody who is still trusted with the old one");
    // The operator dies here: another finds all it needs in the Secrets.
    let successor = Holder::new(&api);
    assert_eq!(successor.keys(later).await.fingerprints, shown.fingerprints);
    successor.everybody_uses_it();
    successor.keys(later).await;
    assert_eq!(authorities(&api), 1);
    assert_ne!(text("r-authority", "ca.crt"), old_authority);
    assert_ne!(text("r-authority", "ca.name"), name);
    assert!(secret_text(&api, "r-authority", "next.key").is_none());
}

#[tokio::test]
async fn operators_that_begin_at_once_agree_on_one_authority() {
    let api = ApiServer::default();
    let holders = [Holder::new(&api), Holder::new(&api), Holder::new(&api)];
    let now = Timestamp::from_second(1_780_000_000).expect("a time");
    futures_util::future::join_all(holders.iter().map(|holder| holder.keys(now))).await;
    let mut seen = BTreeSet::new();
    for holder in &holders {
        // Whoever lost the race reads again what is there.
        let reader =
            Holder { keyring: Keyring::default(), client: holder.client.clone(), cluster: holder.cluster.clone() };
        seen.insert(reader.keys(now).await.fingerprints);
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(secret_text(&api, "r-peers-tls", "ca.crt"), secret_text(&api, "r-authority", "ca.crt"));
    assert_eq!(secret_text(&api, "r-admin-tls", "ca.crt"), secret_text(&api, "r-authority", "ca.crt"));
}

#[tokio::test]
async fn a_secret_that_somebody_damaged_is_signed_again() {
    let api = ApiServer::default();
    let now = Timestamp::from_second(1_780_000_000).expect("a time");
    Holder::new(&api).keys(now).await;
    let mut secret = api.read("secrets", NAMESPACE, "r-peers-tls").expect("a Secret");
    secret["data"]["ca.crt"] = json!("bm9ib2R5");
    api.put("secrets", secret);
    Holder::new(&api).keys(now).await;
    assert_eq!(secret_text(&api, "r-peers-tls", "ca.crt"), secret_text(&api, "r-authority", "ca.crt"));
}

#[tokio::test]
async fn a_namesake_of_a_deleted_cluster_waits_until_the_old_keys_are_gone_and_gets_its_own() {
    let api = ApiServer::default();
    let now = Timestamp::from_second(1_780_000_000).expect("a time");
    let mut holder = Holder::new(&api);
    let first = holder.keys(now).await;
    holder.cluster.metadata.uid = Some("7d9b6a2e-0000-4000-8000-000000000002".to_owned());
    let surroundings = surroundings();
    let blueprint = Blueprint::new(&holder.cluster, "carrel:1", &surroundings).expect("it has a uid");
    let refused = holder.keyring.keys(&holder.client, &blueprint, None, now).await;
    refused.expect_err("the old authority is about to be collected");
    for secret in ["r-authority", "r-peers-tls", "r-admin-tls"] {
        api.remove("secrets", NAMESPACE, secret);
    }
    assert_ne!(holder.keys(now).await.fingerprints, first.fingerprints);
    assert!(secret_text(&api, "r-peers-tls", "tls.crt").is_some());
}
