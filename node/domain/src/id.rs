//! Names of things. Ids are handed out by `apply`, in log order, and never used again.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($of:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub $of);
    };
}

id!(/// A person's account. A name may be registered again after its deletion, and is then another user.
    UserId(u64));
id!(/// A branch of the catalogue; its index there.
    BranchId(u32));
id!(/// An area of the catalogue; its index there.
    AreaId(u32));
id!(/// A seat of the catalogue; its index there.
    SeatId(u32));
id!(/// One version of a policy; its index in the catalogue.
    PolicyId(u32));
id!(/// Whatever occupies a seat, live or over.
    ClaimId(u64));
id!(/// One person's wait for one interval. Smaller ids joined earlier.
    WaitId(u64));
id!(/// A UUID chosen by the client: the same request, however often it is sent.
    RequestId(u128));
id!(/// The first 16 bytes of the SHA-256 of a session token. The token itself is nowhere in the state.
    TokenDigest([u8; 16]));
id!(/// A receiver of events; drawn at random.
    WebhookId(u128));

/// Where an item stands in the order of everything that happened: the log entry, and which of its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub index: u64,
    pub ordinal: u32,
}

impl Position {
    /// After everything that the entry at `index` caused.
    #[must_use]
    pub const fn end_of(index: u64) -> Self {
        Self { index, ordinal: u32::MAX }
    }
}
