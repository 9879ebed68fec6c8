//! Keys and certificates of a cluster: made before its nodes, renewed while they run, and changed from the ground up
//! without a moment in which two nodes do not trust each other.
//!
//! The authority lies in a Secret that no pod mounts. What nodes, clients and the operator show lies in one Secret
//! each, with the authorities to trust beside it.

mod issue;
mod keyring;
mod rotation;

pub use issue::{Authority, Leaf, Purpose};
pub use keyring::{AdminKeys, Keyring, KeysError, Mounted};
pub use rotation::{Change, Fingerprints, Keys, Wanted, change};
