//! What is asked for.

/// What the cluster shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Desired {
    pub replicas: Replicas,
}

/// How many nodes vote. Odd, because an even number bears no more failures than the odd number below it; at most seven,
/// because every write waits for a majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replicas {
    One,
    Three,
    Five,
    Seven,
}

/// A number of replicas that nobody should want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("replicas must be 1, 3, 5 or 7, not {0}: an even number bears no more failures than the odd one below it")]
pub struct NotReplicas(pub u32);

impl Replicas {
    pub fn count(self) -> u32 {
        match self {
            Replicas::One => 1,
            Replicas::Three => 3,
            Replicas::Five => 5,
            Replicas::Seven => 7,
        }
    }
}

impl TryFrom<u32> for Replicas {
    type Error = NotReplicas;

    fn try_from(count: u32) -> Result<Self, NotReplicas> {
        match count {
            1 => Ok(Replicas::One),
            3 => Ok(Replicas::Three),
            5 => Ok(Replicas::Five),
            7 => Ok(Replicas::Seven),
            _ => Err(NotReplicas(count)),
        }
    }
}
