//! Which change of keys comes next. Pure.
//!
//! A certificate is renewed in place: its authority is trusted already. An authority is changed in three steps, each
//! once every node is known to use what the step before wrote: trust both, show what the new one signed, trust the new
//! one alone. A node that is away keeps the others waiting, and none of them in the dark.

use std::collections::{BTreeMap, BTreeSet};

use carrel_proto::admin::v1 as admin;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::issue::{Authority, Leaf, Purpose};

/// An authority outlives several certificates; what it signs can be replaced while nobody notices.
pub(super) const AUTHORITY_VALID: SignedDuration = SignedDuration::from_hours(3 * 365 * 24);
pub(super) const LEAF_VALID: SignedDuration = SignedDuration::from_hours(90 * 24);

/// With so much left there is time for somebody to see that renewing fails.
const AUTHORITY_RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(365 * 24);
const LEAF_RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub current: Authority,
    /// The one that is to follow it, while the change is under way.
    pub next: Option<Authority>,
    pub leaves: BTreeMap<Purpose, Leaf>,
}

/// Which certificates there are to be, and for which hosts.
pub type Wanted = BTreeMap<Purpose, Vec<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make the authority that is to follow, and let everybody trust both.
    PrepareNext,
    /// Sign these again.
    Sign { by_next: bool },
    /// The next authority becomes the current one, and the old one is trusted no more.
    DropOld,
}

/// The next change. `is_in_use`: every node uses the certificate and the authorities that were written last.
#[must_use]
pub fn change(keys: &Keys, wanted: &Wanted, now: Timestamp, is_in_use: bool) -> Option<Change> {
    let Some(next) = &keys.next else {
        return if is_due(keys.current.expires, now, AUTHORITY_RENEWED_BEFORE) {
            Some(Change::PrepareNext)
        } else {
            must_sign(keys, wanted, now, &keys.current).then_some(Change::Sign { by_next: false })
        };
    };
    let shown = keys.leaves.get(&Purpose::Peers).map(|leaf| &leaf.signed_by);
    if shown != Some(&next.name) {
        return if is_in_use {
            Some(Change::Sign { by_next: true })
        } else {
            must_sign(keys, wanted, now, &keys.current).then_some(Change::Sign { by_next: false })
        };
    }
    if must_sign(keys, wanted, now, next) {
        return Some(Change::Sign { by_next: true });
    }
    is_in_use.then_some(Change::DropOld)
}

fn must_sign(keys: &Keys, wanted: &Wanted, now: Timestamp, by: &Authority) -> bool {
    wanted.iter().any(|(purpose, hosts)| match keys.leaves.get(purpose) {
        Some(leaf) => {
            leaf.hosts != *hosts || leaf.signed_by != by.name || is_due(leaf.expires, now, LEAF_RENEWED_BEFORE)
        }
        None => true,
    })
}

fn is_due(expires: Timestamp, now: Timestamp, before: SignedDuration) -> bool {
    expires.duration_since(now) < before
}

impl Keys {
    /// The authorities to trust: `ca.crt`.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| next.certificate.as_str());
        format!("{}{next}", self.current.certificate)
    }
}

/// Certificates in use, known by the SHA-256 of their DER encodings: of what was written, and as a node says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprints {
    shown: Option<Vec<u8>>,
    authorities: BTreeSet<Vec<u8>>,
}

impl Fingerprints {
    /// Of `ca.crt` and `tls.crt`. What is no certificate counts for none, so that it is never taken for in use.
    #[must_use]
    pub fn of(authorities: &str, certificate: &str) -> Self {
        let all = |pem: &str| -> Vec<Vec<u8>> {
            let read = CertificateDer::pem_slice_iter(pem.as_bytes());
            read.filter_map(Result::ok).map(|der| Sha256::digest(&der).to_vec()).collect()
        };
        Self { shown: all(certificate).into_iter().next(), authorities: all(authorities).into_iter().collect() }
    }

    #[must_use]
    pub fn said(keys: &admin::Keys) -> Self {
        Self {
            shown: keys.shown.as_ref().map(|shown| shown.sha256.clone()),
            authorities: keys.authorities.iter().map(|authority| authority.sha256.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn wanted() -> Wanted {
        [(Purpose::Peers, vec!["*.r-peers.n.svc".to_owned()]), (Purpose::Admin, vec!["carrel-admin".to_owned()])].into()
    }

    fn authority(name: &str, now: Timestamp) -> Authority {
        Authority::new(name.to_owned(), now, AUTHORITY_VALID).expect("made")
    }

    /// Performs a change as the keyring does.
    fn perform(keys: &mut Keys, change: Change, now: Timestamp) {
        match change {
            Change::PrepareNext => keys.next = Some(authority("next", now)),
            Change::Sign { by_next } => {
                let by = if by_next { keys.next.clone().expect("there is one") } else { keys.current.clone() };
                for (purpose, hosts) in wanted() {
                    keys.leaves.insert(purpose, by.sign(purpose, &hosts, now, LEAF_VALID).expect("signed"));
                }
            }
            Change::DropOld => keys.current = keys.next.take().expect("there is one"),
        }
    }

    #[test]
    fn a_leaf_is_renewed_in_place_before_it_expires() {
        let mut keys = Keys { current: authority("first", at(0)), next: None, leaves: BTreeMap::new() };
        assert_eq!(change(&keys, &wanted(), at(0), false), Some(Change::Sign { by_next: false }));
        perform(&mut keys, Change::Sign { by_next: false }, at(0));
        assert_eq!(change(&keys, &wanted(), at(59 * 24), true), None);
        assert_eq!(change(&keys, &wanted(), at(61 * 24), true), Some(Change::Sign { by_next: false }));
        let mut others = wanted();
        others.insert(Purpose::Clients, vec!["r.n.svc".to_owned()]);
        assert_eq!(change(&keys, &others, at(0), true), Some(Change::Sign { by_next: false }));
    }

    #[test]
    fn an_authority_is_changed_in_three_steps_each_once_the_last_is_in_use() {
        let mut keys = Keys { current: authority("first", at(0)), next: None, leaves: BTreeMap::new() };
        perform(&mut keys, Change::Sign { by_next: false }, at(0));
        let now = at(2 * 365 * 24 + 1);
        perform(&mut keys, Change::Sign { by_next: false }, now);
        assert_eq!(change(&keys, &wanted(), now, false), Some(Change::PrepareNext));
        perform(&mut keys, Change::PrepareNext, now);
        assert!(keys.bundle().contains(&keys.current.certificate));
        assert_eq!(change(&keys, &wanted(), now, false), None, "not everybody trusts it yet");
        assert_eq!(change(&keys, &wanted(), now, true), Some(Change::Sign { by_next: true }));
        perform(&mut keys, Change::Sign { by_next: true }, now);
        assert_eq!(change(&keys, &wanted(), now, false), None, "somebody still shows the old one's");
        assert_eq!(change(&keys, &wanted(), now, true), Some(Change::DropOld));
        perform(&mut keys, Change::DropOld, now);
        assert_eq!(change(&keys, &wanted(), now, true), None);
        assert_eq!(keys.bundle(), keys.current.certificate);
    }

    #[test]
    fn while_nodes_are_away_their_certificates_do_not_run_out() {
        let mut keys = Keys { current: authority("first", at(0)), next: None, leaves: BTreeMap::new() };
        perform(&mut keys, Change::Sign { by_next: false }, at(2 * 365 * 24));
        keys.next = Some(authority("next", at(2 * 365 * 24)));
        assert_eq!(change(&keys, &wanted(), at(2 * 365 * 24 + 61 * 24), false), Some(Change::Sign { by_next: false }));
    }
}
