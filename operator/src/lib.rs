//! The operator: it makes a cluster of what a `CarrelCluster` asks for, and keeps it one.
//!
//! A pass over a cluster builds and applies its objects, looks at it, lets the planner of `carrel-membership` decide,
//! writes the decision down and performs at most one step ([`reconcile`]). What decides is pure and small ([`decide`],
//! [`build`], [`status`], [`certificates`]); what performs is dull ([`perform`], [`apply`], [`record`]).

pub mod crd;
pub mod build;
pub mod observe;
pub mod decide;
pub mod recovering;
pub mod status;
pub mod certificates;
pub mod apply;
pub mod record;
pub mod admins;
pub mod perform;
pub mod context;
pub mod recoveries;
pub mod reconcile;
pub mod controller;
pub mod lease;
pub mod role;
pub mod requests;
pub mod metrics;
pub mod traces;
pub mod server;
pub mod run;
