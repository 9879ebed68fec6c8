//! Who owns which field: the operator's two managers, and people who scale or apply.

use carrel_operator::apply::{apply_scale, apply_template, create_set};
use carrel_operator::build::{Blueprint, Surroundings, template_only};
use carrel_operator::crd::CarrelCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::core::Status;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::plane::plane;

/// Each is lost to a write of the controller, which makes a handful.
const TRIES_MAX: usize = 20;
/// The garbage collector lets its pods go first.
const GONE_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

fn surroundings() -> Surroundings {
    Surroundings {
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: "managers".to_owned(),
        operator_labels: [("app.kubernetes.io/name".to_owned(), "carrel-operator".to_owned())].into(),
    }
}

fn conflict<T: std::fmt::Debug>(outcome: kube::Result<T>) -> Box<Status> {
    match outcome {
        Err(kube::Error::Api(refusal)) if refusal.is_conflict() => refusal,
        outcome => panic!("no conflict: {outcome:?}"),
    }
}

/// Who owns a field of the spec.
fn owners(managed: &Value, field: &str) -> Vec<String> {
    let owns = |entry: &&Value| entry["fieldsV1"]["f:spec"].get(field).is_some();
    let entries = managed["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().filter(owns).map(|entry| entry["manager"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_never_changes_the_size_and_a_size_is_of_one_set() {
    let Some(plane) = plane() else { return };
    plane.namespace("managers").await;
    let client = plane.client();
    let object = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
        "metadata": { "name": "r", "namespace": "managers" }, "spec": { "image": "carrel:1" } });
    super::create(&client, "managers", &object).await;
    let clusters: Api<CarrelCluster> = Api::namespaced(client.clone(), "managers");
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), "managers");
    let cluster = clusters.get("r").await.expect("it is there");
    let surroundings = surroundings();
    let template = |image| template_only(&Blueprint::new(&cluster, image, &surroundings).expect("it has a uid"));
    let replicas = async || sets.get("r").await.expect("it is there").spec.expect("a spec").replicas;

    // Whole at once: its controller never sees a smaller one.
    let set = create_set(&sets, "r", &template("carrel:1"), 3).await.expect("made");
    assert_eq!((set.metadata.generation, set.spec.as_ref().and_then(|spec| spec.replicas)), (Some(1), Some(3)));
    let (uid, version) = (set.uid().expect("a uid"), set.resource_version().expect("a version"));
    conflict(create_set(&sets, "r", &template("carrel:1"), 5).await);
    let apply = async |image| apply_template(&sets, "r", &template(image), &uid, None).await;
    apply("carrel:2").await.expect("another template");
    assert_eq!(replicas().await, Some(3), "a template says nothing of the size");
    let set = serde_json::to_value(sets.get("r").await.expect("it is there")).expect("plain data");
    assert_eq!(owners(&set, "f:replicas"), ["carrel-operator-replicas"]);
    assert_eq!(owners(&set, "f:template"), ["carrel-operator"], "the size's manager has let go of it");

    // A look that is old, or of another set.
    conflict(apply_scale(&sets, "r", &uid, &version, 5).await);
    let version = sets.get("r").await.expect("it is there").resource_version().expect("a version");
    let other = apply_scale(&sets, "r", "0a1b2c3d-0000-4000-8000-000000000001", &version, 5).await;
    // By its uid, or by its version, if the controller was there in between.
    assert!(matches!(other, Err(kube::Error::Api(refusal)) if refusal.is_conflict() || refusal.is_invalid()));
    assert_eq!(replicas().await, Some(3));

    // Somebody scales the set by hand: a template leaves that alone, the planner takes it back.
    let scaled = json!({ "spec": { "replicas": 1 } });
    let by_hand = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
    sets.patch_scale("r", &by_hand, &Patch::Merge(scaled)).await.expect("scaled by hand");
    apply("carrel:2").await.expect("the same template");
    assert_eq!(replicas().await, Some(1));
    for _ in 0..TRIES_MAX {
        let version = sets.get("r").await.expect("it is there").resource_version().expect("a version");
        // The controller writes the status of a set that has changed.
        if apply_scale(&sets, "r", &uid, &version, 3).await.is_ok() {
            break;
        }
    }
    assert_eq!(replicas().await, Some(3));
    // Applying the same again changes nothing that was asked for.
    let before = sets.get("r").await.expect("it is there").metadata.generation;
    apply("carrel:2").await.expect("the same template");
    let now = sets.get("r").await.expect("it is there");
    assert_eq!(now.metadata.generation, before);

    // Of a set that has changed since, or is gone: without its size it would be one of a single pod.
    conflict(apply_template(&sets, "r", &template("carrel:3"), &uid, Some(&version)).await);
    let orphaning = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    sets.delete("r", &orphaning).await.expect("deleted");
    let gone = kube::runtime::wait::await_condition(sets.clone(), "r", |set: Option<&StatefulSet>| set.is_none());
    tokio::time::timeout(GONE_LIMIT, gone).await.expect("in time").expect("watched");
    conflict(apply("carrel:3").await);
    assert!(sets.get_opt("r").await.expect("asked").is_none(), "nobody made one");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_scales_a_cluster_is_not_overruled_by_who_applied_it() {
    let Some(plane) = plane() else { return };
    plane.namespace("scaling").await;
    let clusters: Api<CarrelCluster> = Api::namespaced(plane.client(), "scaling");
    let chart = |replicas: Option<i32>| {
        let mut object = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
            "metadata": { "name": "r" }, "spec": { "image": "carrel:1" } });
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        object
    };
    let helm = PatchParams::apply("helm");
    clusters.patch("r", &helm, &Patch::Apply(chart(Some(3)))).await.expect("installed");
    let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    let kubectl = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
    clusters.patch_scale("r", &kubectl, &five).await.expect("scaled");
    let refusal = conflict(clusters.patch("r", &helm, &Patch::Apply(chart(Some(3)))).await);
    let causes = refusal.details.expect("details").causes;
    assert!(causes.iter().any(|cause| cause.field == ".spec.replicas"), "{causes:?}");
    assert_eq!(clusters.get("r").await.expect("it is there").spec.replicas, 5);

    // What does not name a size has no opinion of it.
    let another = json!({ "apiVersion": "carrel.dev/v1alpha1", "kind": "CarrelCluster",
        "metadata": { "name": "s" }, "spec": { "image": "carrel:1" } });
    clusters.patch("s", &helm, &Patch::Apply(another.clone())).await.expect("installed");
    assert_eq!(clusters.get("s").await.expect("it is there").spec.replicas, 3);
    clusters.patch_scale("s", &kubectl, &five).await.expect("scaled");
    clusters.patch("s", &helm, &Patch::Apply(another)).await.expect("upgraded");
    assert_eq!(clusters.get("s").await.expect("it is there").spec.replicas, 5);

    // A size that nobody should want is refused at /scale as well.
    let four = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    let refused = clusters.patch_scale("s", &kubectl, &four).await.expect_err("refused");
    assert!(refused.to_string().contains("replicas must be 1, 3, 5 or 7"), "{refused}");
}
