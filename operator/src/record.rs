//! The status of one object while a pass works on it: what it was, what it is to be, and the version it was read at.
//!
//! Every write names that version. So a status that somebody else has changed since is never overwritten, and what the
//! planner decided on it is never done: the claim of a founding and the record of a stop depend on that.

use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::crd::{CarrelCluster, CarrelClusterStatus};

/// An object that may be malformed, without keeping anybody from the others.
pub type Guarded = DeserializeGuard<CarrelCluster>;

const FIELD_MANAGER: &str = "carrel-operator-status";

#[derive(Debug)]
pub struct Record {
    api: Api<Guarded>,
    name: String,
    resource_version: String,
    written: CarrelClusterStatus,
    pub status: CarrelClusterStatus,
    writes: u32,
    is_gone: bool,
}

impl Record {
    #[must_use]
    pub fn of(object: &Guarded, api: Api<Guarded>) -> Self {
        let status = object.0.as_ref().ok().and_then(|cluster| cluster.status.clone()).unwrap_or_default();
        Self {
            api,
            name: object.name_any(),
            resource_version: object.meta().resource_version.clone().unwrap_or_default(),
            written: status.clone(),
            status,
            writes: 0,
            is_gone: false,
        }
    }

    /// Writes the status down, if it is another than the one that is there.
    ///
    /// # Errors
    /// A conflict if the object has changed since it was read, or has gone.
    pub async fn write(&mut self) -> kube::Result<()> {
        if self.status == self.written {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": CarrelCluster::api_version(&()),
            "kind": CarrelCluster::kind(&()),
            "metadata": { "name": self.name, "resourceVersion": self.resource_version },
            "status": self.status,
        });
        let how = PatchParams::apply(FIELD_MANAGER).force();
        match self.api.patch_status(&self.name, &how, &Patch::Apply(patch)).await {
            Ok(object) => {
                self.resource_version = object.resource_version().unwrap_or_default();
                self.written = self.status.clone();
                self.writes += 1;
                Ok(())
            }
            Err(error) => {
                self.is_gone = matches!(&error, kube::Error::Api(refusal) if refusal.is_not_found());
                Err(error)
            }
        }
    }

    /// The object is still as it was read or written last, by the API server's own account and no cache's. One call,
    /// for where something is about to be built on it that no version of its own protects.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn is_current(&self) -> kube::Result<bool> {
        let this = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let there = self.api.list(&this).await?.items;
        let is_this = |object: &Guarded| {
            object.name_any() == self.name && object.resource_version().as_deref() == Some(&self.resource_version)
        };
        Ok(there.iter().any(is_this))
    }

    /// It was deleted meanwhile, as far as writing tells: nobody is left to read it, or to do anything for.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    #[must_use]
    pub fn writes(&self) -> u32 {
        self.writes
    }
}
