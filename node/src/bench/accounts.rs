//! Accounts that are made for a measurement, and deleted after it.

use anyhow::Context;
use carrel_proto::client::{Client, ClientError, new_request_id};
use carrel_proto::v1;
use tokio::task::{JoinHandle, JoinSet};

use super::ground::PAGE_SIZE;
use super::progress;

/// Accounts are hashed one after the other on purpose; a few at a time keep both cores busy.
const AT_ONCE: usize = 8;
/// A cluster remembers 10,000 requests of an account and refuses more until the oldest are 15 minutes old.
const REQUESTS_MAX: u32 = 9_000;
/// The next account is made in good time: hashing its password takes a while on a busy machine.
const PREPARE_NEXT_AT: u32 = 6_000;
const PASSWORD: &str = "bench bench bench";

#[derive(Clone)]
pub struct Account {
    /// `users/bench-...`
    pub name: String,
    /// Acts for it.
    pub client: Client,
    session_token: String,
}

impl Account {
    /// # Errors
    /// If the cluster refuses, or is not reached.
    pub async fn make(client: &Client) -> anyhow::Result<Self> {
        let user_id = format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        let (request_id, password) = (new_request_id(), PASSWORD.to_owned());
        client.register(v1::RegisterRequest { request_id, user_id: user_id.clone(), password }).await?;
        let request = v1::LoginRequest { user_id: user_id.clone(), password: PASSWORD.to_owned() };
        let session = client.login(request).await?;
        let client = client.clone().with_session(&session.session_token)?;
        Ok(Self { name: format!("users/{user_id}"), client, session_token: session.session_token })
    }

    /// The same account over another connection.
    ///
    /// # Errors
    /// Never: the token has served before.
    pub fn over(&self, client: Client) -> anyhow::Result<Client> {
        Ok(client.with_session(&self.session_token)?)
    }

    /// Everything it ever booked.
    ///
    /// # Errors
    /// If the cluster is not reached.
    pub async fn reservations(&self) -> anyhow::Result<Vec<v1::Reservation>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListReservationsRequest { page_size: PAGE_SIZE, page_token, ..Default::default() };
            let page = self.client.list_reservations(request).await?;
            all.extend(page.reservations);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
    }

    /// # Errors
    /// If it is still there.
    pub async fn delete(&self) -> Result<(), ClientError> {
        let request = v1::DeleteUserRequest { request_id: new_request_id(), name: self.name.clone() };
        self.client.delete_user(request).await.map(|_| ())
    }
}

/// As many accounts, one after the other, as one client's requests take.
pub struct Wallet {
    anonymous: Client,
    current: Account,
    used: u32,
    next: Option<JoinHandle<anyhow::Result<Account>>>,
    retired: Vec<Account>,
}

impl Wallet {
    /// One for each client, over these connections in turn.
    ///
    /// # Errors
    /// If an account cannot be made.
    pub async fn make_all(count: usize, connections: &[Client], json: bool) -> anyhow::Result<Vec<Self>> {
        let bar = progress(count as u64, json, "making accounts {bar:30} {pos}/{len}");
        let mut wallets = Vec::new();
        let mut pending = JoinSet::new();
        for number in 0..count {
            if pending.len() >= AT_ONCE {
                wallets.push(pending.join_next().await.context("there are some")???);
            }
            let anonymous = connections[number % connections.len()].clone();
            let bar = bar.clone();
            pending.spawn(async move {
                let current = Account::make(&anonymous).await?;
                bar.inc(1);
                anyhow::Ok(Self { anonymous, current, used: 0, next: None, retired: Vec::new() })
            });
        }
        while let Some(wallet) = pending.join_next().await {
            wallets.push(wallet??);
        }
        bar.finish_and_clear();
        Ok(wallets)
    }

    /// The account for the next so many requests.
    ///
    /// # Errors
    /// If a further account was needed and could not be made.
    pub async fn account(&mut self, requests: u32) -> anyhow::Result<Account> {
        self.used += requests;
        if self.used > PREPARE_NEXT_AT && self.next.is_none() {
            let anonymous = self.anonymous.clone();
            self.next = Some(tokio::spawn(async move { Account::make(&anonymous).await }));
        }
        if self.used > REQUESTS_MAX
            && let Some(next) = self.next.take()
        {
            let next = next.await?.context("cannot make a further account")?;
            self.retired.push(std::mem::replace(&mut self.current, next));
            self.used = requests;
        }
        Ok(self.current.clone())
    }

    /// Of the account that it has now.
    pub fn name(&self) -> &str {
        &self.current.name
    }

    /// All of them so far.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.retired.iter().chain([&self.current])
    }

    /// Takes the accounts back. How many could not be.
    pub async fn delete(mut self) -> u32 {
        if let Some(next) = self.next.take()
            && let Ok(Ok(account)) = next.await
        {
            self.retired.push(account);
        }
        let mut left = 0;
        for account in self.accounts() {
            left += u32::from(account.delete().await.is_err());
        }
        left
    }
}
