//! Many replicas, one thread, one seed: the code that serves people, in virtual time, through every disaster that a
//! seed can draw.
//!
//! [`run::run`] is one seed from the founding of a cluster to calm weather. What a seed draws is in [`draw`]; what
//! must hold meanwhile is in `invariants`, one file each; what clients saw is judged by `carrel-history`. The same seed
//! tells the same story every time, to the last message.

// In reading order: chance, processes and machines, the network, the relational record, what runs and who looks after
// it, who comes there, what goes wrong, what is seen.
mod dice;
mod process;
mod runtime;
mod machine;
mod network;
mod postgres;
mod connection;
pub mod draw;
mod world;
mod steward;
mod library;
mod clients;
mod guests;
mod damage;
mod faults;
mod calm;
mod invariants;
mod witness;
pub mod marks;
mod story;
pub mod run;
pub mod report;
