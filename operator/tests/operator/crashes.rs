//! An operator that dies at any moment, and several that work at once.

use serde_json::{Value, json};

use crate::world::{World, wanted};

/// Something is asked of a cluster; how it must end.
struct Story {
    name: &'static str,
    from: Option<i32>,
    ask: fn(&World),
    voters: usize,
}

const STORIES: [Story; 6] = [
    Story { name: "founding", from: None, ask: |_| (), voters: 3 },
    Story { name: "growing", from: Some(3), ask: |world| world.change(|spec| spec["replicas"] = json!(5)), voters: 5 },
    Story {
        name: "shrinking",
        from: Some(5),
        ask: |world| {
            world.nodes.lead(4);
            world.change(|spec| spec["replicas"] = json!(3));
        },
        voters: 3,
    },
    Story { name: "a lost volume", from: Some(3), ask: |world| world.lose_volume(1), voters: 3 },
    Story {
        name: "a rollout",
        from: Some(3),
        ask: |world| world.change(|spec| spec["image"] = json!("carrel:2")),
        voters: 3,
    },
    Story {
        name: "larger volumes",
        from: Some(3),
        ask: |world| world.change(|spec| spec["storage"] = json!({ "size": "2Gi" })),
        voters: 3,
    },
];

/// More than most stories take.
const ERASED_AFTER_PASSES_MAX: usize = 14;

impl Story {
    async fn begin(&self) -> World {
        let world = match self.from {
            Some(replicas) => World::settled(replicas).await,
            None => World::with(wanted(3)).await,
        };
        (self.ask)(&world);
        world
    }

    /// The operator dies of this effect, and another begins with nothing in memory. False if there were not so many.
    async fn with_death_at(&self, effect: u64) -> bool {
        let mut world = self.begin().await;
        world.api.crash.arm(effect);
        for _ in 0..200 {
            let crash = world.api.crash.clone();
            let died = tokio::select! {
                biased;
                () = crash.died() => true,
                outcome = world.pass() => {
                    if outcome.is_err() {
                        world.operator.attempts.succeeded(crate::world::NAMESPACE, crate::world::NAME);
                    }
                    false
                }
            };
            if died {
                world.restart_operator();
                // What was abandoned half way is seen as such after a while.
                world.advance(121);
                world.settle().await;
                let at = format!("{}: death of effect {effect}", self.name);
                assert_eq!(world.nodes.voters().len(), self.voters, "{at}");
                assert!(world.status().disruption.is_empty(), "{at}");
                world.assert_sound();
                return true;
            }
            if world.is("Ready", "True") && world.decision() == "as wanted, and well" && world.is_as_asked(self.voters)
            {
                return false;
            }
        }
        panic!("{}: neither settled nor dead", self.name);
    }
}

impl World {
    fn is_as_asked(&self, voters: usize) -> bool {
        let object = self.object();
        let image = object["spec"]["image"].as_str().expect("an image");
        let size = &object["spec"]["storage"]["size"];
        let is_size = |set: &Value| {
            let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
            size.is_null() || claim["resources"]["requests"]["storage"] == *size
        };
        self.nodes.voters().len() == voters
            && self.api.all("statefulsets").iter().all(is_size)
            && self.pods().keys().all(|pod| self.image_of(pod) == image)
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    }
}

/// Of every effect of every story, before it is told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_die_of_any_effect() {
    let mut deaths = 0;
    for story in &STORIES {
        let mut effect = 1;
        while story.with_death_at(effect).await {
            effect += 1;
        }
        println!("{}: {} effects", story.name, effect - 1);
        assert!(effect > 8, "{} has more effects than {}", story.name, effect - 1);
        deaths += effect - 1;
    }
    println!("{deaths} deaths, each at another moment, no harm");
}

/// Without an election, each with a memory of its own, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_operators_at_once_do_no_harm() {
    for story in &STORIES {
        let mut world = story.begin().await;
        let operators = [world.operator.clone(), world.another_operator(), world.another_operator()];
        for _ in 0..60 {
            world.tick();
            let passes = operators.iter().map(|operator| world.pass_of(operator));
            futures_util::future::join_all(passes).await;
            for operator in &operators {
                operator.attempts.succeeded(crate::world::NAMESPACE, crate::world::NAME);
            }
            world.assert_sound();
        }
        world.advance(121);
        world.settle().await;
        assert_eq!(world.nodes.voters().len(), story.voters, "{}", story.name);
    }
}

/// Of any story, whatever it was in the middle of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_may_be_erased_at_any_moment() {
    for story in &STORIES {
        for passes in 0..ERASED_AFTER_PASSES_MAX {
            let mut world = story.begin().await;
            world.run(passes).await;
            world.erase_status();
            world.settle().await;
            assert_eq!(world.nodes.voters().len(), story.voters, "{} after {passes} passes", story.name);
            assert!(world.is_as_asked(story.voters), "{} after {passes} passes", story.name);
        }
    }
}
