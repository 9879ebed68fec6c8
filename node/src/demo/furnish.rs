//! What a formed cluster needs to be a library: an admin, a catalogue, one account per role. Each is made once; doing
//! it again finds it there.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use carrel_proto::client::{Client, ClientError, new_request_id};
use carrel_proto::v1;
use indicatif::ProgressBar;

use super::record::{Account, write_file, write_json};
use super::replicas::Processes;
use crate::catalog;
use crate::convert::catalog::{from_draft, to_draft};

/// The accounts of a demo, the first admin first: the replicas make that one themselves.
const ROLES: [(&str, v1::Role); 5] = [
    ("admin", v1::Role::Admin),
    ("librarian", v1::Role::Librarian),
    ("patron", v1::Role::Patron),
    ("auditor", v1::Role::Auditor),
    ("kiosk", v1::Role::Kiosk),
];

pub struct Furnishing<'a> {
    pub dir: &'a Path,
    pub client: Client,
    pub catalog: Option<&'a Path>,
    pub grace_minutes: Option<i32>,
}

/// What can be said of a catalogue file before there is a cluster: only a CSV file depends on what is there.
///
/// # Errors
/// With every fault and its line.
pub fn check_catalog(file: &Path) -> anyhow::Result<()> {
    match catalog::read_file(file, None) {
        Ok(_) | Err(catalog::ReadError::NothingToPutSeatsIn { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Furnishing<'_> {
    /// Accounts are chosen before the replicas start: they read the first admin's name and password from a file.
    ///
    /// # Errors
    /// If the directory cannot be read or written.
    pub fn accounts(dir: &Path) -> anyhow::Result<Vec<Account>> {
        let path = dir.join("accounts.json");
        if path.exists() {
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return serde_json::from_slice(&text).with_context(|| format!("{} is damaged: --fresh", path.display()));
        }
        let accounts = ROLES
            .iter()
            .map(|(user, role)| {
                let role = role.as_str_name().trim_start_matches("ROLE_").to_owned();
                Ok(Account { user: (*user).to_owned(), password: password()?, role })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        // Before the accounts themselves: whoever is interrupted here draws both anew.
        let admin = &accounts[0];
        write_file(&Processes::first_admin_file(dir), &format!("{}\n{}\n", admin.user, admin.password))?;
        write_json(&path, &accounts)?;
        Ok(accounts)
    }

    /// # Errors
    /// If the cluster refuses, or is not reached.
    pub async fn complete(self, progress: &ProgressBar) -> anyhow::Result<Vec<Account>> {
        let accounts = Self::accounts(self.dir)?;
        progress.set_message("waiting for the first admin");
        let admin = self.log_in(&accounts[0]).await?;
        progress.set_message("importing the catalogue");
        let branches = self.import(&admin).await?;
        for (account, (_, role)) in accounts.iter().zip(ROLES).skip(1) {
            progress.set_message(format!("creating the account of the {}", account.user));
            self.make_account(&admin, account, role, &branches).await?;
        }
        Ok(accounts)
    }

    /// The replicas make the first admin as soon as they serve, so it may take a moment.
    async fn log_in(&self, account: &Account) -> anyhow::Result<Client> {
        const ATTEMPTS: u32 = 100;
        for attempt in 1.. {
            let request = v1::LoginRequest { user_id: account.user.clone(), password: account.password.clone() };
            match self.client.login(request).await {
                Ok(session) => return Ok(self.client.clone().with_session(&session.session_token)?),
                Err(ClientError::Refused(refusal)) if refusal.reason == "CREDENTIALS_INVALID" && attempt < ATTEMPTS => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                Err(ClientError::Refused(refusal)) => {
                    bail!("{} cannot log in: {refusal}. Was the password changed? --fresh begins anew", account.user)
                }
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The names of the branches that there are then.
    async fn import(&self, admin: &Client) -> anyhow::Result<Vec<String>> {
        let existing = admin.list_branches(v1::ListBranchesRequest::default()).await?.branches;
        // What is there stays, unless something else was asked for by name.
        if !existing.is_empty() && self.catalog.is_none() && self.grace_minutes.is_none() {
            return Ok(existing.into_iter().map(|branch| branch.name).collect());
        }
        let current = admin.export_catalog(v1::ExportCatalogRequest::default()).await?;
        let mut wanted = match self.catalog {
            Some(file) => catalog::read_file(file, current.catalog.as_ref())?,
            None if existing.is_empty() => catalog::sample(),
            None => current.catalog.clone().context("a cluster with branches has a catalogue")?,
        };
        if let Some(grace_minutes) = self.grace_minutes {
            for policy in &mut wanted.policies {
                policy.grace_minutes = grace_minutes;
            }
        }
        let branches = wanted.branches.iter().map(|branch| format!("branches/{}", branch.id)).collect();
        // As it would be told: what a file leaves out is said by whoever has imported it.
        let as_told = to_draft(&wanted).map(|draft| from_draft(&draft)).ok();
        if current.catalog == as_told {
            return Ok(branches);
        }
        let request = v1::ImportCatalogRequest {
            request_id: new_request_id(),
            catalog: Some(wanted),
            expected_revision: Some(current.revision),
            validate_only: false,
        };
        admin.import_catalog(request).await?;
        Ok(branches)
    }

    async fn make_account(
        &self,
        admin: &Client,
        account: &Account,
        role: v1::Role,
        branches: &[String],
    ) -> anyhow::Result<()> {
        let request = v1::RegisterRequest {
            request_id: new_request_id(),
            user_id: account.user.clone(),
            password: account.password.clone(),
        };
        match self.client.register(request).await {
            Ok(_) => {}
            Err(ClientError::Refused(refusal)) if refusal.reason == "USERNAME_TAKEN" => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if role == v1::Role::Patron {
            return Ok(());
        }
        let request = v1::SetUserRoleRequest {
            request_id: new_request_id(),
            name: format!("users/{}", account.user),
            role: role.into(),
            branches: if role == v1::Role::Librarian { branches.to_vec() } else { Vec::new() },
        };
        admin.set_user_role(request).await?;
        Ok(())
    }
}

/// Twelve characters that nobody mistakes for one another: more than 58 bits.
fn password() -> anyhow::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}
