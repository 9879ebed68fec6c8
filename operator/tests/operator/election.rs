//! One of several operators works.

use carrel_operator::lease::{Elector, Leadership};
use kube::Api;

use crate::world::api::ApiServer;

fn elector(api: &ApiServer, identity: &str) -> (Elector, Leadership) {
    let leadership = Leadership::elected();
    let leases = Api::namespaced(api.client(), "operators");
    (Elector::new(leases, "carrel-operator".to_owned(), identity.to_owned(), leadership.clone()), leadership)
}

#[tokio::test]
async fn one_is_elected_and_another_only_after_it_has_let_go() {
    let api = ApiServer::default();
    let (mut one, one_leads) = elector(&api, "one");
    let (mut two, two_leads) = elector(&api, "two");
    assert!(!one_leads.holds(), "before it is elected");
    assert!(one.step().await.expect("an answer"));
    assert!(!two.step().await.expect("an answer"));
    assert!(one.step().await.expect("an answer"), "renewed");
    assert!(!two.step().await.expect("an answer"), "it was renewed since");
    assert!(one_leads.holds() && !two_leads.holds());
    api.take_calls();
    assert!(one.step().await.expect("an answer"));
    assert_eq!(api.take_calls().len(), 1, "a renewal is one call");

    one.release().await;
    assert!(!one_leads.holds());
    assert!(two.step().await.expect("an answer"), "at once");
    assert!(two_leads.holds());
    assert!(!one.step().await.expect("an answer"));
    let lease = api.read("leases", "operators", "carrel-operator").expect("a Lease");
    assert_eq!(lease["spec"]["holderIdentity"], "two");
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}

#[tokio::test]
async fn of_two_that_take_a_free_lease_at_once_one_wins() {
    let api = ApiServer::default();
    let (mut first, _) = elector(&api, "first");
    assert!(first.step().await.expect("an answer"));
    first.release().await;
    let (mut one, _) = elector(&api, "one");
    let (mut two, _) = elector(&api, "two");
    let (one, two) = tokio::join!(one.step(), two.step());
    assert!(one.expect("an answer") ^ two.expect("an answer"));
}

#[tokio::test]
async fn somebody_who_took_the_lease_is_noticed_at_the_next_renewal() {
    let api = ApiServer::default();
    let (mut one, one_leads) = elector(&api, "one");
    assert!(one.step().await.expect("an answer"));
    let mut lease = api.read("leases", "operators", "carrel-operator").expect("a Lease");
    lease["spec"]["holderIdentity"] = "somebody".into();
    api.put("leases", lease);
    assert!(!one.step().await.expect("an answer"));
    assert!(!one_leads.holds());
}

/// The garbage collector does the rest, as it does for a pod that was deleted without a word.
#[tokio::test]
async fn a_lease_belongs_to_the_pod_of_whoever_holds_it() {
    let api = ApiServer::default();
    let owner = || {
        let lease = api.read("leases", "operators", "carrel-operator").expect("a Lease");
        let owners = lease["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        assert_eq!(owners.len(), 1, "{owners:?}");
        (owners[0]["kind"].clone(), owners[0]["name"].clone(), owners[0]["uid"].clone())
    };
    let (one, _) = elector(&api, "one");
    let mut one = one.in_pod("uid-of-one".to_owned());
    assert!(one.step().await.expect("an answer"));
    assert_eq!(owner(), ("Pod".into(), "one".into(), "uid-of-one".into()));
    one.release().await;
    let (two, _) = elector(&api, "two");
    let mut two = two.in_pod("uid-of-two".to_owned());
    assert!(two.step().await.expect("an answer"));
    assert_eq!(owner(), ("Pod".into(), "two".into(), "uid-of-two".into()), "and to nobody else");
}
