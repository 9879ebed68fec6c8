//! The operator against an API server, controllers, kubelets and nodes in memory: real passes, the real planner, real
//! calls over the wire to the nodes.

#[path = "../collector/mod.rs"]
mod collector;
mod world;

mod definitions;
mod building;
mod stories;
mod rollouts;
mod trouble;
mod recoveries;
mod sizes;
mod cases;
mod crashes;
mod keys;
mod election;
mod traces;
mod quiet;
