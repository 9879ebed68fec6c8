//! What goes out into the world, from real nodes to a real mail server and a real receiver of events in this process:
//! each thing arrives, once or again under the same id, whatever becomes of the leader and of the other end.

mod events;
mod mails;
mod receivers;

#[path = "../first_light/stage.rs"]
#[allow(dead_code, reason = "the stage has more than these stories need")]
mod stage;
