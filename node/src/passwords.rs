//! Password hashes: argon2id, made and checked beside the tasks that answer requests, and never in `apply`.
//!
//! A hash takes 19 MiB and tens of milliseconds on purpose, so only a few are worked on at once and only so many wait:
//! a crowd at the door must not keep those inside from working.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use carrel_domain::account::PasswordHash;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hashes at once: together 38 MiB, and never more than two cores.
const AT_ONCE_MAX: usize = 2;
/// At 50 ms each the last of them waits 3 s; whoever comes then had better come back.
const WAITING_MAX: usize = 120;
const SALT_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    #[error("more passwords are waiting to be checked than can be soon")]
    Busy,
    #[error("no hash can be made on this machine")]
    OutOfOrder,
}

/// Cheap to clone; clones share the bounds.
#[derive(Clone, Debug)]
pub struct Passwords {
    admitted: Arc<Semaphore>,
    working: Arc<Semaphore>,
    /// What a password is checked against if there is nobody of the name, so that the answer takes as long.
    decoy: PasswordHash,
}

impl Passwords {
    /// Takes as long as one hash.
    ///
    /// # Errors
    /// If this machine cannot make one.
    pub fn new() -> Result<Self, PasswordError> {
        let mut nobodys = [0; 32];
        getrandom::fill(&mut nobodys).map_err(|_| PasswordError::OutOfOrder)?;
        Ok(Self {
            admitted: Arc::new(Semaphore::new(AT_ONCE_MAX + WAITING_MAX)),
            working: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            decoy: hash(&nobodys)?,
        })
    }

    /// # Errors
    /// If too many are waiting, or no hash can be made here.
    pub async fn hash(&self, password: String) -> Result<PasswordHash, PasswordError> {
        self.beside(move || hash(password.as_bytes())).await?
    }

    /// Whether the password is the one behind `stored`. Takes as long if nothing is stored.
    ///
    /// # Errors
    /// If too many are waiting.
    pub async fn verify(&self, password: String, stored: Option<PasswordHash>) -> Result<bool, PasswordError> {
        let known = stored.is_some();
        let against = stored.unwrap_or_else(|| self.decoy.clone());
        // With the parameters in the hash, whatever ours are today.
        let matches = move || Argon2::default().verify_password(password.as_bytes(), against.0.as_ref()).is_ok();
        Ok(self.beside(matches).await? && known)
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let place = self.admitted.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = self.working.clone().acquire_owned().await.map_err(|_| PasswordError::OutOfOrder)?;
        // The work goes on even if nobody waits for it any more, and holds its place until it is done.
        let held: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, turn);
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(held);
            done
        });
        done.await.map_err(|_| PasswordError::OutOfOrder)
    }
}

fn hash(password: &[u8]) -> Result<PasswordHash, PasswordError> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::OutOfOrder)?;
    let made: phc::PasswordHash =
        Argon2::default().hash_password_with_salt(password, &salt).map_err(|_| PasswordError::OutOfOrder)?;
    Ok(PasswordHash(made.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_and_no_other() {
        let passwords = Passwords::new().expect("hashes can be made");
        let stored = passwords.hash("correct horse".to_owned()).await.expect("a hash");
        assert!(stored.0.starts_with("$argon2id$"));
        assert_eq!(passwords.verify("correct horse".to_owned(), Some(stored.clone())).await, Ok(true));
        assert_eq!(passwords.verify("wrong horse".to_owned(), Some(stored)).await, Ok(false));
        assert_eq!(passwords.verify("correct horse".to_owned(), None).await, Ok(false));
        let broken = PasswordHash("not a hash".into());
        assert_eq!(passwords.verify("correct horse".to_owned(), Some(broken)).await, Ok(false));
    }

    #[tokio::test]
    async fn a_crowd_is_turned_away_and_the_place_comes_back() {
        let passwords = Passwords::new().expect("hashes can be made");
        let places = passwords.admitted.clone().acquire_many_owned((AT_ONCE_MAX + WAITING_MAX) as u32).await;
        assert_eq!(passwords.hash("correct horse".to_owned()).await, Err(PasswordError::Busy));
        drop(places);
        assert!(passwords.hash("correct horse".to_owned()).await.is_ok());
        assert_eq!(passwords.admitted.available_permits(), AT_ONCE_MAX + WAITING_MAX);
    }
}
