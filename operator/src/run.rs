//! `carrel-operator run`: elected or waiting for it, with probes and metrics, until it is asked to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use kube::client::ClientBuilder;
use kube::runtime::controller;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::build::Surroundings;
use crate::certificates::Mounted;
use crate::context::{Context, Settings};
use crate::controller::{self as passes, Scope};
use crate::lease::{Elector, Leadership, RENEW_EVERY};
use crate::metrics::Metrics;
use crate::requests::{Freshness, Requests};
use crate::server;
use crate::traces::Traces;

/// A get on a connection that died without a word would wait for ever.
const READ_LIMIT: Duration = Duration::from_secs(crate::requests::WATCH_SECONDS as u64 + 30);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Passes that run may come to their end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The namespace the operator runs in
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,

    /// The name of this pod, by which it is elected
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: String,

    /// The uid of this pod: with it, the Lease goes when the pod does, and another need not wait until it runs out
    #[arg(long, env = "POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,

    /// Look after clusters of the operator's own namespace, or of all
    #[arg(long, env = "CARREL_OPERATOR_WATCH", value_enum, default_value_t = Watch::Namespace)]
    pub watch: Watch,

    /// How the operator's pods are labelled, for the policy of who may reach the admin port
    #[arg(
        long,
        env = "CARREL_OPERATOR_LABELS",
        value_name = "KEY=VALUE,KEY=VALUE",
        value_delimiter = ',',
        default_value = "app.kubernetes.io/name=carrel-operator"
    )]
    pub labels: Vec<String>,

    /// The domain of the cluster, as in r-0.r-peers.namespace.svc.DOMAIN
    #[arg(long, env = "CARREL_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// ca.crt, tls.crt and tls.key to call nodes with whose keys the operator does not make (tls.mode Secret)
    #[arg(long, env = "CARREL_ADMIN_TLS_DIR", value_name = "DIR")]
    pub admin_tls_dir: Option<PathBuf>,

    /// Of the Lease by which one of several operators is elected
    #[arg(long, env = "CARREL_OPERATOR_LEASE", value_name = "NAME", default_value = "carrel-operator")]
    pub lease: String,

    /// Listens here for probes and Prometheus
    #[arg(long, env = "CARREL_OPERATOR_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:7430")]
    pub listen: SocketAddr,

    /// What to log, for example "info" or "carrel_operator=debug,kube=info". Traces of its passes go by OTLP to where
    /// OTEL_EXPORTER_OTLP_ENDPOINT says, if it says anything
    #[arg(long, env = "CARREL_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Watch {
    Namespace,
    Cluster,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// With what a person can do about it.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let traces = Traces::begin(&args.identity)?;
    log_as_json(&args.log, traces.as_ref())?;
    let labels = labels(&args.labels)?;
    let metrics = Metrics::new();
    let freshness = Freshness::default();
    let config = Config::infer().await.context("no cluster: neither a service account nor a kubeconfig")?;
    let client = client(config.clone(), &freshness, &metrics)?;
    // Its retries are the next renewal; those of the client would outlive the lease.
    let mut impatient = config;
    impatient.default_retry = false;
    let election_client = self::client(impatient, &freshness, &metrics)?;

    let leadership = Leadership::elected();
    let surroundings = Surroundings {
        cluster_domain: args.cluster_domain.clone(),
        operator_namespace: args.namespace.clone(),
        operator_labels: labels,
    };
    let settings = Settings { admin_keys: args.admin_tls_dir.clone().map(Mounted), ..Settings::new(surroundings) };
    let scope = match args.watch {
        Watch::Namespace => Scope::Namespace(args.namespace.clone()),
        Watch::Cluster => Scope::Cluster,
    };
    let stop = CancellationToken::new();
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
    let probes = axum::serve(listener, server::router(freshness.clone(), metrics.clone()))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let probes = tokio::spawn(async move { probes.await });

    let leases = Api::namespaced(election_client, &args.namespace);
    let elector = Elector::new(leases, args.lease.clone(), args.identity.clone(), leadership.clone());
    let mut elector = match args.pod_uid.clone() {
        Some(uid) => elector.in_pod(uid),
        None => elector,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(identity = %args.identity, ?scope, version = env!("CARGO_PKG_VERSION"), "started");
    let working = async {
        loop {
            if stop.run_until_cancelled(elected(&mut elector)).await.is_none() {
                return;
            }
            metrics.leads(true);
            tracing::info!("elected");
            // Memories of a former term may be wrong by now.
            let context = Context::new(client.clone(), settings.clone(), metrics.clone(), leadership.clone());
            work(&mut elector, Arc::new(context), &scope, &stop).await;
            metrics.leads(false);
            freshness.clear();
            if stop.is_cancelled() {
                elector.release().await;
                return;
            }
            tracing::warn!("not elected any more");
        }
    };
    tokio::pin!(working);
    tokio::select! {
        () = &mut working => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end");
    stop.cancel();
    let _ = tokio::time::timeout(STOP_LIMIT, working).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), probes).await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(())
}

/// Until this operator is the one.
async fn elected(elector: &mut Elector) {
    loop {
        match elector.step().await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = %crate::reconcile::brief(&error), "the election cannot be held"),
        }
        tokio::time::sleep(RENEW_EVERY / 5).await;
    }
}

/// Until this operator is not the one any more, or is to stop.
async fn work(elector: &mut Elector, context: Arc<Context>, scope: &Scope, stop: &CancellationToken) {
    let leadership = context.leadership.clone();
    let memory = context.clone();
    let memory = &memory;
    let working = passes::run(context, scope, stop.clone().cancelled_owned()).for_each(|outcome| async move {
        match outcome {
            Ok(_) => {}
            // What a deleted object leaves in the queue: its children go.
            Err(controller::Error::ObjectNotFound(object)) => {
                memory.forget(object.namespace.as_deref().unwrap_or_default(), &object.name);
            }
            Err(controller::Error::ReconcilerFailed(failure, object)) => {
                tracing::warn!(cluster = %object.name, class = failure.word(), error = %failure, "a pass failed");
            }
            Err(error) => tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "watching fails"),
        }
    });
    let renewals = async {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match elector.step().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(error = %crate::reconcile::brief(&error), "the lease is not renewed");
                    if !leadership.holds() {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = working => {}
        () = renewals => {}
    }
}

fn client(mut config: Config, freshness: &Freshness, metrics: &Metrics) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(READ_LIMIT);
    let requests = Requests { freshness: freshness.clone(), metrics: metrics.clone() };
    let builder = ClientBuilder::try_from(config).context("the cluster's configuration makes no sense")?;
    Ok(builder.with_layer(&requests).build())
}

fn labels(list: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').with_context(|| format!("--labels: {text:?} is not KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    list.iter().map(pair).collect()
}

fn log_as_json(filter: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .with_context(|| format!("--log {filter:?} is not a filter; an example is info,kube=warn"))?;
    let lines = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).with_filter(filter);
    let both = tracing_subscriber::registry().with(traces.map(Traces::layer)).with(lines);
    both.try_init().map_err(|error| anyhow::anyhow!("cannot log: {error}"))
}
