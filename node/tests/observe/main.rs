//! What the nodes tell of themselves, and what is made of it: dashboards, alerts and their runbooks, written from one
//! source and tried on a real Prometheus; traces, as a collector sees them.

#[path = "../first_light/stage.rs"]
#[allow(dead_code, reason = "the stage is shared with other tests, and each uses a part of it")]
mod stage;

mod source;
mod boards;
mod alerts;
mod written;
mod size;
mod uncounted;

mod watcher;
mod expressions;
mod load;
mod picture;
mod live;
mod traces;
