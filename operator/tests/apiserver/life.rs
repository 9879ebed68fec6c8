//! The life of a cluster, from a single node to five and back, through a lost volume, a rollout and larger volumes: by
//! an operator with its own Role and nothing else. At the end the API server's audit log is held against that Role.

use std::collections::BTreeSet;
use std::time::Duration;

use carrel_operator::crd::{CarrelClusterStatus, CarrelRecovery};
use carrel_proto::client::{Client, Options, new_request_id};
use carrel_proto::v1;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::audit::{Asked, asked_by, given, used};
use super::kubelet::Kubelet;
use super::plane::plane;
use super::plugin;
use super::stage::{Cluster, Operator};

const NAMESPACE: &str = "library";
const PASSWORD: &str = "a good long password";

fn ids(status: &CarrelClusterStatus) -> BTreeSet<u64> {
    status.membership.as_ref().expect("there is one").voters.iter().copied().collect()
}

/// It follows the status: more than one node have one.
async fn has_budget(budgets: &Api<PodDisruptionBudget>, expected: bool) {
    let is_as_expected = |budget: Option<&PodDisruptionBudget>| budget.is_some() == expected;
    let waiting = kube::runtime::wait::await_condition(budgets.clone(), "r", is_as_expected);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("watched");
}

async fn library(cluster: &Cluster) -> Client {
    Client::new(cluster.endpoints().await, Options::default()).expect("addresses")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_needs_its_role_and_no_more() {
    let Some(plane) = plane() else { return };
    let operator = Operator::start(plane, NAMESPACE).await;
    let _machine = Kubelet::start(plane, NAMESPACE).await;
    let spec = json!({ "replicas": 1, "image": "carrel:1", "tls": { "mode": "Disabled" },
        "storage": { "size": "1Gi", "className": "growing" } });
    let cluster = Cluster::create(plane, NAMESPACE, "r", spec).await;
    let first = cluster.settle().await;
    assert_eq!(ids(&first), [1].into());
    let register =
        v1::RegisterRequest { request_id: new_request_id(), user_id: "amy".to_owned(), password: PASSWORD.to_owned() };
    library(&cluster).await.register(register).await.expect("a promise that is to be kept");

    cluster.change(json!({ "replicas": 3 })).await;
    let three = cluster.settle().await;
    assert_eq!(three.cluster_id, first.cluster_id);
    assert!(ids(&three).contains(&1) && ids(&three).len() == 3);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    has_budget(&budgets, true).await;
    plugin::looks_at_a_cluster(plane, &cluster).await;

    cluster.change(json!({ "replicas": 5 })).await;
    let five = cluster.settle().await;
    assert!(ids(&five).is_superset(&ids(&three)) && ids(&five).len() == 5);
    cluster.change(json!({ "replicas": 3 })).await;
    assert_eq!(ids(&cluster.settle().await), ids(&three));
    cluster.wait_for_pods(3).await;

    a_volume_is_lost(&cluster).await;
    a_rollout(&cluster).await;
    volumes_grow(&cluster).await;

    // To one and back: the volumes that were kept hold ids that are never used again, and are emptied.
    cluster.change(json!({ "replicas": 1 })).await;
    cluster.settle().await;
    has_budget(&budgets, false).await;
    let before = ids(&cluster.get().await.status.expect("a status"));
    cluster.change(json!({ "replicas": 3 })).await;
    let again = cluster.settle().await;
    assert_eq!(ids(&again).intersection(&before).count(), 1);
    assert!(!again.replaced.is_empty(), "old volumes are emptied");

    a_recovery_that_nobody_needs(&cluster).await;

    let login = v1::LoginRequest { user_id: "amy".to_owned(), password: PASSWORD.to_owned() };
    library(&cluster).await.login(login).await.expect("the promise was kept through all of it");
    a_secured_cluster(plane, &cluster).await;

    let asked = asked_by(plane, &operator.user);
    hold_against_the_role(&asked);
}

async fn a_volume_is_lost(cluster: &Cluster) {
    let before = cluster.get().await.status.expect("a status");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    claims.delete("data-r-2", &DeleteParams::default()).await.expect("its volume");
    pods.delete("r-2", &DeleteParams::default()).await.expect("and its pod");
    let lost = before.members.iter().find(|member| member.ordinal == 2).and_then(|member| member.node_id);
    let lost = lost.expect("it had an id");
    cluster
        .wait("replaced", |_, status| {
            status.membership.as_ref().is_some_and(|now| !now.voters.contains(&lost) && now.voters.len() == 3)
        })
        .await;
    let after = cluster.settle().await;
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(ids(&after).intersection(&ids(&before)).count(), 2, "the others stay, and the id is gone for good");
}

async fn a_rollout(cluster: &Cluster) {
    let before = cluster.pod_uids().await;
    cluster.roll_out("carrel:2").await;
    let after = cluster.pod_uids().await;
    assert!(before.iter().all(|uid| !after.contains(uid)), "every pod is another");
}

async fn volumes_grow(cluster: &Cluster) {
    let before = cluster.pod_uids().await;
    cluster.change(json!({ "storage": { "size": "2Gi" } })).await;
    cluster.settle().await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    for ordinal in 0..3 {
        let claim = claims.get(&format!("data-r-{ordinal}")).await.expect("a claim");
        let asked = claim.spec.and_then(|spec| spec.resources).and_then(|resources| resources.requests);
        assert_eq!(asked.expect("it asks for a size")["storage"].0, "2Gi");
    }
    assert_eq!(cluster.pod_uids().await, before, "no pod is restarted for it");
}

/// It is looked at, and says what it waits for.
async fn a_recovery_that_nobody_needs(cluster: &Cluster) {
    let recoveries: Api<CarrelRecovery> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let asked = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelRecovery",
        "metadata": { "name": "mend" }, "spec": { "cluster": "r" } });
    let asked = serde_json::from_value(asked).expect("well-formed");
    recoveries.create(&PostParams::default(), &asked).await.expect("nothing is wrong with it");
    let has_phase = |asked: Option<&CarrelRecovery>| {
        asked.and_then(|asked| asked.status.as_ref()).is_some_and(|status| status.phase.is_some())
    };
    let waiting = kube::runtime::wait::await_condition(recoveries.clone(), "mend", has_phase);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").expect("watched");
    recoveries.delete("mend", &DeleteParams::default()).await.expect("it was not needed");
    cluster.settle().await;
}

/// With keys that the operator makes and mutual TLS on the admin port.
async fn a_secured_cluster(plane: &'static super::plane::Plane, other: &Cluster) {
    let spec = json!({ "replicas": 1, "image": "carrel:1", "tls": { "clientsMode": "Operator" } });
    let cluster = Cluster::create(plane, NAMESPACE, "locked", spec).await;
    cluster.settle().await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    for name in ["locked-authority", "locked-peers-tls", "locked-admin-tls", "locked-clients-tls"] {
        let secret = secrets.get(name).await.expect("a secret");
        assert!(!secret.owner_references().is_empty(), "{name} goes with its cluster");
    }
    plugin::asks_by_the_admin_port(plane, &cluster, other).await;
    plugin::connects_by_tls(plane, &cluster, "locked-clients-tls").await;
}

fn hold_against_the_role(asked: &[Asked]) {
    let refused: Vec<&Asked> = asked.iter().filter(|asked| asked.code == 403).collect();
    assert!(refused.is_empty(), "asked for without a right to: {refused:#?}");
    assert!(asked.iter().all(|asked| asked.namespace == NAMESPACE), "nothing is asked of other namespaces");
    let (used, given) = (used(asked), given());
    let missing: Vec<String> = used.difference(&given).map(ToString::to_string).collect();
    assert!(missing.is_empty(), "used, and not in the Role: {missing:#?}");
    let idle: Vec<String> = given.difference(&used).map(ToString::to_string).collect();
    assert!(idle.is_empty(), "in the Role, and never used: {idle:#?}");
    let secrets = used.iter().filter(|right| right.resource == "secrets");
    assert!(secrets.clone().count() > 0 && secrets.clone().all(|right| right.verb != "list" && right.verb != "watch"));
    println!("{} requests used each of {} rights, and no other", asked.len(), used.len());
}
