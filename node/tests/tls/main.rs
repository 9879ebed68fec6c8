//! Mutual TLS on three real replicas: who gets in nowhere, and certificates that change under load.

#[path = "../first_light/stage.rs"]
#[expect(dead_code, reason = "the stage is shared, and no story uses all of it")]
mod stage;
mod keyring;
mod refusals;
mod rotation;
