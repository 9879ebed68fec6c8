//! What a collector is told of passes: each is a trace, with what was decided in it and what was done.

use carrel_operator::traces::Traces;
use tracing_subscriber::layer::SubscriberExt;

use crate::collector::{Collector, Span};
use crate::world::{NAME, NAMESPACE, World, wanted};

fn below<'a>(spans: &'a [Span], pass: &Span, name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name && span.is_part_of(pass)).collect()
}

/// In one thread, whose passes and no others are recorded.
#[tokio::test]
async fn a_pass_is_a_trace_of_what_was_decided_and_done() {
    let collector = Collector::serve().await;
    let traces = Traces::to(&collector.endpoint).expect("an address");
    let recording = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces.layer()));
    let mut world = World::with(wanted(3)).await;
    let told = world.settle().await;
    let mut broken = world.object();
    broken["status"]["clusterId"] = "not a UUID".into();
    world.api.put("carrelclusters", broken);
    world.pass().await.expect_err("its own record makes no sense");
    drop(recording);
    traces.end().await;

    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.service == "carrel-operator"));
    let passes: Vec<&Span> = spans.iter().filter(|span| span.name == "reconcile").collect();
    assert!(passes.len() >= told.len(), "{} passes, of which {told:#?} was told", passes.len());
    assert!(passes.iter().all(|pass| pass.fields["cluster"] == NAME && pass.fields["namespace"] == NAMESPACE));
    assert!(passes.iter().all(|pass| pass.begins_a_trace()), "each is a trace of its own");
    let decided = |decision: &str| {
        let decided = passes.iter().find(|pass| pass.fields.get("decision").is_some_and(|word| word == decision));
        *decided.unwrap_or_else(|| panic!("no pass decided {decision}: {passes:#?}"))
    };

    let founding = decided("Founding");
    let [plan] = below(&spans, founding, "plan")[..] else { panic!("one decision a pass") };
    assert_eq!(plan.fields["decision"], "Founding");
    assert!(told.contains(&plan.fields["why"]), "in the words of the status: {plan:#?}");
    let [step] = below(&spans, founding, "step")[..] else { panic!("one step a pass") };
    assert_eq!(step.fields["decision"], "Founding");
    assert_eq!(below(&spans, founding, "look")[0].fields["pods"], "3");
    assert_eq!(below(&spans, founding, "build").len(), 1);

    let settled = decided("Settled");
    assert!(below(&spans, settled, "step").is_empty(), "nothing was done");
    assert_eq!(below(&spans, settled, "plan")[0].fields["outlook"], "settled");
    let failed = passes.iter().find(|pass| pass.fields.contains_key("failure")).expect("the last one");
    assert_eq!(failed.fields["failure"], "StatusDamaged");
}
