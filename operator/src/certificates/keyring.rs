//! Keys in Secrets, and a memory of them: a cluster whose keys are in order costs no call.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carrel_proto::client::Tls;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::issue::{Authority, Leaf, Purpose};
use super::rotation::{AUTHORITY_VALID, Change, Fingerprints, Keys, LEAF_VALID, Wanted, change};
use crate::apply::TEMPLATE_MANAGER;
use crate::build::{Blueprint, digest};
use crate::crd::TlsMode;

/// Secrets are not watched: what somebody did to them is seen after so long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// Make, sign, and see that nothing else is to be done.
const CHANGES_MAX: usize = 4;
/// The DNS name that the admin port asks for.
const ADMIN_NAME: &str = "carrel-admin";

const EXPIRES: &str = "carrel.dev/expires";
const SIGNED_BY: &str = "carrel.dev/signed-by";
const HOSTS: &str = "carrel.dev/hosts";

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{}", crate::reconcile::brief(.0))]
    Kube(#[from] kube::Error),
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("Secret {name}: {what}")]
    Damaged { name: String, what: String },
    #[error("spec.tls.mode Secret needs an operator that was started with --admin-tls-dir")]
    NoAdminKeys,
    #[error("cannot read {}: {source}", path.display())]
    Mounted { path: PathBuf, source: std::io::Error },
}

/// What the operator shows on the admin ports of one cluster, and what tells whether it is still the same.
#[derive(Clone, Debug)]
pub struct AdminKeys {
    pub tls: Tls,
    pub digest: String,
    /// What a node reports that uses what was written last; none if the keys are not ours.
    pub fingerprints: Option<Fingerprints>,
}

/// Where the operator's own keys lie for clusters whose keys it does not make.
#[derive(Clone, Debug)]
pub struct Mounted(pub PathBuf);

/// Keys of all clusters.
#[derive(Default)]
pub struct Keyring {
    kept: Mutex<BTreeMap<(String, String), Kept>>,
}

struct Kept {
    /// Whose they are.
    uid: String,
    keys: Keys,
    read_at: Instant,
    is_in_use: bool,
}

impl Keyring {
    /// The keys of a cluster, made or changed if need be; none without TLS.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn keys(
        &self,
        client: &Client,
        blueprint: &Blueprint<'_>,
        mounted: Option<&Mounted>,
        now: Timestamp,
    ) -> Result<Option<AdminKeys>, KeysError> {
        match blueprint.spec.tls.mode {
            TlsMode::Disabled => Ok(None),
            TlsMode::Secret => read_mounted(&mounted.ok_or(KeysError::NoAdminKeys)?.0).await.map(Some),
            TlsMode::Operator => self.own(client, blueprint, now).await.map(Some),
        }
    }

    /// Whether every node uses what was written last, as they report it.
    pub fn note_use(&self, namespace: &str, name: &str, is_in_use: bool) {
        if let Some(kept) = self.kept().get_mut(&(namespace.to_owned(), name.to_owned())) {
            kept.is_in_use = is_in_use;
        }
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        self.kept().remove(&(namespace.to_owned(), name.to_owned()));
    }

    async fn own(&self, client: &Client, blueprint: &Blueprint<'_>, now: Timestamp) -> Result<AdminKeys, KeysError> {
        let at = (blueprint.namespace.clone(), blueprint.name.clone());
        let wanted = wanted(blueprint);
        let is_in_use = self.kept().get(&at).is_some_and(|kept| kept.is_in_use && kept.uid == blueprint.uid);
        {
            let kept = self.kept();
            if let Some(kept) = kept.get(&at)
                && kept.uid == blueprint.uid
                && kept.read_at.elapsed() < LOOK_AGAIN_AFTER
                && change(&kept.keys, &wanted, now, is_in_use).is_none()
            {
                return Ok(admin(&kept.keys));
            }
        }
        let store = Store { secrets: Api::namespaced(client.clone(), &blueprint.namespace), blueprint };
        let mut keys = store.read(&wanted, now).await?;
        // What was in use says nothing of what is written now.
        let mut is_in_use = is_in_use;
        for _ in 0..CHANGES_MAX {
            let Some(next) = change(&keys, &wanted, now, is_in_use) else { break };
            store.perform(&mut keys, next, &wanted, now).await?;
            is_in_use = false;
        }
        let answer = admin(&keys);
        self.kept().insert(at, Kept { uid: blueprint.uid.clone(), keys, read_at: Instant::now(), is_in_use });
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<(String, String), Kept>> {
        // What is in there is whole at every moment.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

fn wanted(blueprint: &Blueprint<'_>) -> Wanted {
    let mut wanted: Wanted =
        [(Purpose::Peers, blueprint.hosts()), (Purpose::Admin, vec![ADMIN_NAME.to_owned()])].into();
    if blueprint.spec.tls.clients_mode == TlsMode::Operator {
        wanted.insert(Purpose::Clients, blueprint.client_hosts());
    }
    wanted
}

fn admin(keys: &Keys) -> AdminKeys {
    let bundle = keys.bundle();
    let leaf = &keys.leaves[&Purpose::Admin];
    let peers = &keys.leaves[&Purpose::Peers];
    AdminKeys {
        digest: digest(&json!([bundle, leaf.certificate])),
        fingerprints: Some(Fingerprints::of(&bundle, &peers.certificate)),
        tls: Tls::trusting(bundle).showing(leaf.certificate.as_str(), leaf.key.as_str()),
    }
}

async fn read_mounted(dir: &Path) -> Result<AdminKeys, KeysError> {
    let read = async |file: &str| {
        let path = dir.join(file);
        tokio::fs::read(&path).await.map_err(|source| KeysError::Mounted { path, source })
    };
    let (authorities, certificate, key) = (read("ca.crt").await?, read("tls.crt").await?, read("tls.key").await?);
    let digest = digest(&json!([authorities, certificate]));
    Ok(AdminKeys { tls: Tls::trusting(authorities).showing(certificate, key), digest, fingerprints: None })
}

/// The Secrets of one cluster.
struct Store<'a> {
    secrets: Api<Secret>,
    blueprint: &'a Blueprint<'a>,
}

impl Store<'_> {
    fn authority_name(&self) -> String {
        format!("{}-authority", self.blueprint.name)
    }

    fn leaf_name(&self, purpose: Purpose) -> String {
        purpose.secret(&self.blueprint.name)
    }

    /// All there is; an authority is made where there is none.
    async fn read(&self, wanted: &Wanted, now: Timestamp) -> Result<Keys, KeysError> {
        let name = self.authority_name();
        let secret = match self.secrets.get_opt(&name).await? {
            Some(secret) if self.is_of_another(&secret) => {
                return Err(damaged(&name, "it belongs to a cluster that is gone, and will go with it"));
            }
            Some(secret) => secret,
            None => self.create_authority(now).await?,
        };
        let current = authority(&name, &secret, "ca")?.ok_or_else(|| damaged(&name, "ca.crt is missing"))?;
        let next = authority(&name, &secret, "next")?;
        let mut keys = Keys { current, next, leaves: BTreeMap::new() };
        let bundle = keys.bundle();
        for purpose in wanted.keys() {
            let secret = self.secrets.get_opt(&self.leaf_name(*purpose)).await?;
            let secret = secret.filter(|secret| !self.is_of_another(secret));
            // One that is damaged or is not trusted as it should be is signed again.
            let leaf = secret
                .filter(|secret| text(secret, "ca.crt").as_ref() == Some(&bundle))
                .and_then(|secret| leaf(&secret));
            keys.leaves.extend(leaf.map(|leaf| (*purpose, leaf)));
        }
        Ok(keys)
    }

    /// A namesake that was deleted: the garbage collector has not come by yet.
    fn is_of_another(&self, secret: &Secret) -> bool {
        let owners = secret.owner_references();
        !owners.is_empty() && owners.iter().all(|owner| owner.uid != self.blueprint.uid)
    }

    /// Made once: whoever comes second takes what the first has made.
    async fn create_authority(&self, now: Timestamp) -> Result<Secret, KeysError> {
        let first = Authority::new(self.authority_common_name(now), now, AUTHORITY_VALID)?;
        let secret: Secret = serde_json::from_value(self.authority_body(&first, None, None))
            .map_err(|error| damaged(&self.authority_name(), &error.to_string()))?;
        let how = PostParams { field_manager: Some(TEMPLATE_MANAGER.to_owned()), ..PostParams::default() };
        match self.secrets.create(&how, &secret).await {
            Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => {
                Ok(self.secrets.get(&self.authority_name()).await?)
            }
            created => Ok(created?),
        }
    }

    async fn perform(&self, keys: &mut Keys, next: Change, wanted: &Wanted, now: Timestamp) -> Result<(), KeysError> {
        match next {
            Change::PrepareNext => {
                keys.next = Some(Authority::new(self.authority_common_name(now), now, AUTHORITY_VALID)?);
                self.write_authorities(keys).await?;
            }
            Change::Sign { by_next } => {
                let by = keys.next.as_ref().filter(|_| by_next).unwrap_or(&keys.current).clone();
                for (purpose, hosts) in wanted {
                    keys.leaves.insert(*purpose, by.sign(*purpose, hosts, now, LEAF_VALID)?);
                }
            }
            Change::DropOld => {
                if let Some(next) = keys.next.take() {
                    keys.current = next;
                }
                self.write_authorities(keys).await?;
            }
        }
        for (purpose, leaf) in &keys.leaves {
            self.write_leaf(*purpose, leaf, &keys.bundle()).await?;
        }
        tracing::info!(cluster = %self.blueprint.name, change = ?next, "certificates changed");
        Ok(())
    }

    /// Only over the version that was read: two that change authorities at once would lock each other's nodes out.
    async fn write_authorities(&self, keys: &Keys) -> Result<(), KeysError> {
        let name = self.authority_name();
        let version = self.secrets.get(&name).await?.resource_version();
        let body = self.authority_body(&keys.current, keys.next.as_ref(), version.as_deref());
        self.secrets.patch(&name, &PatchParams::apply(TEMPLATE_MANAGER).force(), &Patch::Apply(body)).await?;
        Ok(())
    }

    async fn write_leaf(&self, purpose: Purpose, leaf: &Leaf, bundle: &str) -> Result<(), KeysError> {
        let name = self.leaf_name(purpose);
        let mut metadata = self.blueprint.metadata(&name);
        metadata["annotations"] = json!({
            EXPIRES: leaf.expires.to_string(),
            SIGNED_BY: leaf.signed_by,
            HOSTS: leaf.hosts.join(","),
        });
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "kubernetes.io/tls",
            "data": {
                "ca.crt": bytes(bundle),
                "tls.crt": bytes(&leaf.certificate),
                "tls.key": bytes(&leaf.key),
            },
        });
        self.secrets.patch(&name, &PatchParams::apply(TEMPLATE_MANAGER).force(), &Patch::Apply(body)).await?;
        Ok(())
    }

    fn authority_common_name(&self, now: Timestamp) -> String {
        format!("carrel {}/{} {}", self.blueprint.namespace, self.blueprint.name, now.as_second())
    }

    fn authority_body(&self, current: &Authority, next: Option<&Authority>, version: Option<&str>) -> Value {
        let mut metadata = self.blueprint.metadata(&self.authority_name());
        if let Some(version) = version {
            metadata["resourceVersion"] = json!(version);
        }
        let mut data = json!({});
        for (prefix, authority) in [("ca", Some(current)), ("next", next)] {
            let Some(authority) = authority else { continue };
            data[format!("{prefix}.name")] = bytes(&authority.name);
            data[format!("{prefix}.crt")] = bytes(&authority.certificate);
            data[format!("{prefix}.key")] = bytes(&authority.key);
            data[format!("{prefix}.expires")] = bytes(&authority.expires.to_string());
        }
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data })
    }
}

fn bytes(text: &str) -> Value {
    serde_json::to_value(ByteString(text.as_bytes().to_vec())).expect("bytes become text")
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn damaged(name: &str, what: &str) -> KeysError {
    KeysError::Damaged { name: name.to_owned(), what: what.to_owned() }
}

fn authority(name: &str, secret: &Secret, prefix: &str) -> Result<Option<Authority>, KeysError> {
    let Some(certificate) = text(secret, &format!("{prefix}.crt")) else { return Ok(None) };
    let part = |part: &str| {
        let key = format!("{prefix}.{part}");
        text(secret, &key).ok_or_else(|| damaged(name, &format!("{key} is missing")))
    };
    let expires = part("expires")?;
    let expires = expires.parse().map_err(|_| damaged(name, &format!("{prefix}.expires is no time")))?;
    Ok(Some(Authority { name: part("name")?, certificate, key: part("key")?, expires }))
}

/// None if it is not what we write.
fn leaf(secret: &Secret) -> Option<Leaf> {
    let note = |key: &str| secret.annotations().get(key);
    Some(Leaf {
        certificate: text(secret, "tls.crt")?,
        key: text(secret, "tls.key")?,
        expires: note(EXPIRES)?.parse().ok()?,
        signed_by: note(SIGNED_BY)?.clone(),
        hosts: note(HOSTS)?.split(',').map(ToOwned::to_owned).collect(),
    })
}
