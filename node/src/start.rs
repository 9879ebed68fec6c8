//! `carrel start`: builds the parts of a node in order, and stops them in reverse. The only file that knows all of
//! them.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use carrel_proto::admin::v1::cluster_service_server::ClusterServiceServer;
use carrel_proto::admin::v1::projection_service_server::ProjectionServiceServer;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use uuid::Uuid;

use crate::config::{LogFormat, NodeConfig, Urls};
use crate::connections::{self, Probes, bounded};
use crate::grpc::cluster::{Cluster, Door};
use crate::grpc::fair_share::FairShare;
use crate::grpc::front::Front;
use crate::grpc::projection::Record;
use crate::grpc::request_metrics::RequestMetrics;
use crate::grpc::server::{self, ClientPort};
use crate::health::{self, Vitals};
use crate::live::{LiveNode, LiveReplica};
use crate::metrics::{self, Metrics, Sight};
use crate::outward;
use crate::page::{self, ClusterSource};
use crate::passwords::Passwords;
use crate::projection::Projection;
use crate::projection::reading::Reader;
use crate::provision::{self, FirstThings};
use crate::raft::bygone;
use crate::raft::disk::real::RealDisk;
use crate::raft::identity::{DataDirectory, MemberOf};
use crate::raft::membership::Role;
use crate::raft::node::{Node, Opening};
use crate::raft::ordered::{self, Obeyed};
use crate::raft::platform::Server;
use crate::raft::settings::Settings;
use crate::raft::transport::{Limits, Links, Listener, PeerServer};
use crate::raft::wal::LogOptions;
use crate::tls::{self, Dialler, Directories, Gate, Tls};
use crate::traces::Traces;

/// Runs until the process is asked to end, or cannot go on.
///
/// # Errors
/// With what a person can do about it.
pub fn run(config: NodeConfig) -> anyhow::Result<ExitCode> {
    exit_with_parent(config.exit_with_parent)?;
    config.check()?;
    if config.no_counting {
        metrics::stop_counting();
    }
    let threads = |name| {
        let threads = tokio::runtime::Builder::new_multi_thread().thread_name(name).enable_all().build();
        threads.context("cannot start threads")
    };
    // Clients have threads of their own: on shared ones a heartbeat or a question for the time would wait behind
    // thousands of calls, and a leader that is only busy would take itself for cut off.
    let (runtime, clients) = (threads("carrel")?, threads("carrel-clients")?);
    let code = runtime.block_on(async {
        let traces = Traces::begin("carrel", Some(config.ordinal.to_string()))?;
        log_to_stderr(&config, traces.as_ref())?;
        let code = serve(config, clients.handle().clone()).await;
        if let Some(traces) = traces {
            let _ = tokio::time::timeout(TRACES_LIMIT, traces.end()).await;
        }
        code
    })?;
    // What still runs has been told to stop and given its time.
    clients.shutdown_background();
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(code)
}

/// # Errors
/// If the parent is gone already.
pub fn exit_with_parent(parent: Option<u32>) -> anyhow::Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    // Everything acknowledged is on disk, so there is nothing to say goodbye for.
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the parent process")?;
    // It may have died before the line above.
    let is_there = getppid().is_some_and(|pid| Pid::as_raw(Some(pid)).cast_unsigned() == parent);
    anyhow::ensure!(is_there, "the parent process, {parent}, is gone");
    Ok(())
}

/// A collector that does not answer holds up the end by no more.
const TRACES_LIMIT: Duration = Duration::from_secs(1);

fn log_to_stderr(config: &NodeConfig, traces: Option<&Traces>) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .with_context(|| format!("--log {:?} is not a filter; an example is info,openraft=error", config.log))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A line that cannot be written, on a full disk or into a closed pipe, is lost; complaining of it would panic in
    // the middle of whatever had something to say.
    let lines = lines.log_internal_errors(false);
    let spans = tracing_subscriber::registry().with(traces.map(Traces::layer));
    let set = match config.log_format {
        LogFormat::Text => spans.with(lines.with_ansi(false).with_filter(filter)).try_init(),
        LogFormat::Json => spans.with(lines.json().with_filter(filter)).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("cannot log: {error}"))
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address} for {what}: is something else using the port?"))
}

async fn serve(config: NodeConfig, for_clients: Handle) -> anyhow::Result<ExitCode> {
    let passwords = Passwords::new().context("cannot hash passwords")?;
    let first = FirstThings::read(&config, &passwords).await?;
    let metrics = Metrics::new(config.cluster_name.clone(), config.dir.clone());
    let directories = Directories { cluster: config.tls_dir.clone(), clients: config.client_tls_dir.clone() };
    let (tls, tls_files) = Tls::open(&directories, &config.peers()?.all(), metrics.registry())
        .context("cannot use the certificates of --tls-dir or --client-tls-dir")?;

    // Ports first: whoever cannot have them must not touch the disk.
    let client_listener = listen("clients", config.client_listen).await?;
    let peer_listener = listen("peers", config.peer_listen).await?;
    let admin_listener = listen("admin", config.admin_listen).await?;
    let metrics_listener = listen("metrics", config.metrics_listen).await?;

    until_free(&config).await?;
    obey_order(&config).await?;
    let node = open(&config, tls.to_peers()).await?;
    node.register(metrics.registry())?;
    let metrics = metrics.with_certificates(tls.in_use());
    let replica = node.replica();
    let clients = config.clients()?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();

    let vitals = NodeVitals { node: node.clone() };
    tasks.spawn(serve_health(metrics_listener, vitals, metrics.clone(), stop.clone()));
    tasks.spawn(tls_files.run(stop.clone()));
    let lineage = node.identity().member_of.map(|me| me.lineage);
    tasks.spawn(stop.clone().run_until_cancelled_owned(bygone::bound(config.dir.clone(), lineage)));
    tasks.spawn(serve_peers(node.clone(), peer_listener, tls.peers(), stop.clone()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(provision::run(replica.clone(), first)));

    // Clients are told to go elsewhere before the node stops, and everything else only after it.
    let draining = CancellationToken::new();
    let admin = Cluster::service(node.clone(), clients.clone(), &tls, Door::Admin, draining.clone());
    let projection = match config.postgres() {
        Some(address) => {
            let (node, days) = (node.clone(), config.history_days);
            Some(Projection::begin(node, address, days, metrics.registry(), stop.clone())?)
        }
        None => None,
    };
    let outward = config.outward()?;
    let sends_mail = outward.mail.is_some();
    outward::begin(node.clone(), outward, metrics.registry(), stop.clone())?;
    let reader = config.postgres().map(|address| Reader::new(node.clone(), address));
    let record = Record::service(replica.clone(), projection);
    tasks.spawn(serve_admin(admin, record, admin_listener, tls.admin(), stop.clone()));
    let fair_share = FairShare::new(config.rates());
    let (library, draining_too) = (Arc::new(replica.clone()), draining.clone());
    let registration = config.registration();
    let front =
        Front { library, passwords, registration, sends_mail, fair_share, record: reader, draining: draining_too };
    let (serving, is_serving) = watch::channel(false);
    tasks.spawn(stop.clone().run_until_cancelled_owned(follow_serving(replica, serving)));
    let cluster = Cluster::service(node.clone(), clients.clone(), &tls, Door::Client, draining.clone());
    let router = ClientPort::new(&front).with(cluster).router(
        &front,
        RequestMetrics::new(metrics.registry())?,
        is_serving,
        overview(node.clone(), clients),
    );
    let serving_clients = serve_clients(router, client_listener, tls.clients(), draining.clone());
    let client_server = tasks.spawn_on(serving_clients, &for_clients);

    tracing::info!(
        ordinal = config.ordinal,
        clients = %config.client_listen,
        peers = %config.peer_listen,
        admin = %config.admin_listen,
        metrics = %config.metrics_listen,
        "started"
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        failure = node.failed() => {
            tracing::error!(%failure, "this node cannot go on");
            return Ok(ExitCode::FAILURE);
        }
    };
    tracing::info!("asked to end");
    // Leadership goes first, while this node still answers: clients see a pause of milliseconds.
    node.hand_over().await;
    draining.cancel();
    if tokio::time::timeout(config.drain(), client_server).await.is_err() {
        tracing::info!("calls of clients were still under way and are cut off");
    }
    node.stop().await;
    stop.cancel();
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(2), tasks.wait()).await;
    tracing::info!("ended");
    Ok(code)
}

/// How often it is looked whether the volume is free.
const VOLUME_LOOK: Duration = Duration::from_millis(100);

/// Who ran here before may still be ending, on Kubernetes under the name that this one has now. To wait is faster than
/// to end and be started again: a kubelet takes its time for that, and the more the oftener. Whoever has the volume for
/// longer is told of by what opens it next.
async fn until_free(config: &NodeConfig) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + Duration::from_secs(config.volume_wait_seconds);
    let (disk, mut is_said) = (RealDisk, false);
    while !DataDirectory::is_free(&disk, &config.dir).await? && tokio::time::Instant::now() < until {
        if !is_said {
            let (dir, seconds) = (config.dir.display(), config.volume_wait_seconds);
            tracing::warn!("{dir} is in use by another process; waiting for its end, at most {seconds} s");
            is_said = true;
        }
        tokio::time::sleep(VOLUME_LOOK).await;
    }
    Ok(())
}

async fn obey_order(config: &NodeConfig) -> anyhow::Result<()> {
    let Some(file) = &config.recovery_file else { return Ok(()) };
    let Some(order) = ordered::read(file)? else { return Ok(()) };
    let obeyed = ordered::obey(&Server::new(), &config.dir, config.ordinal, &order).await;
    match obeyed.with_context(|| format!("cannot obey {}", file.display()))? {
        Obeyed::NothingToDo => {}
        Obeyed::Recovered(begun) => {
            tracing::warn!(lineage = begun.me.lineage, node_id = begun.me.node_id, "goes on alone, as was ordered");
        }
        Obeyed::Restored(begun) => {
            tracing::warn!(cluster_id = %begun.me.cluster_id, node_id = begun.me.node_id, "restored, as was ordered");
        }
        Obeyed::PutAside { was, to } => {
            tracing::warn!(lineage = was.lineage, node_id = was.node_id, to = %to.display(), "its history is over");
        }
    }
    Ok(())
}

async fn open(config: &NodeConfig, to_peers: Option<Dialler>) -> anyhow::Result<LiveNode> {
    let settings = Settings {
        heartbeat_ms: config.heartbeat_ms,
        election_min_ms: config.election_min_ms,
        election_max_ms: config.election_max_ms,
        snapshot_log_bytes: config.snapshot_log_mib << 20,
        log: LogOptions { segment_bytes: config.log_segment_mib << 20 },
        ..Settings::default()
    };
    let opening =
        Opening { mount: config.dir.clone(), ordinal: config.ordinal, drawn_incarnation: Uuid::new_v4(), settings };
    let peers = config.peers()?;
    let limits = Limits::new(Duration::from_millis(config.election_min_ms));
    let addresses = Arc::new(move |ordinal| peers.of(ordinal)?.parse().ok());
    let make_peers =
        move |me: MemberOf| Links::<Server>::new(me.log_owner(), limits, addresses.clone(), to_peers.clone());
    let node = Node::open(Server::new(), opening, make_peers).await;
    node.with_context(|| format!("cannot use {}", config.dir.display()))
}

/// Of one caller of the admin port: an operator asks for a few things at a time.
const ADMIN_CALLS_PER_CONNECTION_MAX: u32 = 64;
/// Names and numbers of a handful of nodes.
const ADMIN_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// A caller that vanished without a word is found out by pings.
const ADMIN_PING_EVERY: Duration = Duration::from_secs(20);

async fn serve_clients(router: axum::Router, listener: TcpListener, gate: Option<Gate>, draining: CancellationToken) {
    let incoming = bounded(tls::incoming(Listener::new(listener), gate), "clients", connections::clients_max());
    if let Err(error) = server::serve(router, incoming, draining).await {
        tracing::error!(%error, "clients are served no more");
    }
}

/// Health checks are told within half a second: a load balancer asks less often.
async fn follow_serving(replica: LiveReplica, serving: watch::Sender<bool>) {
    loop {
        let now = replica.serving().is_ok();
        serving.send_if_modified(|before| std::mem::replace(before, now) != now);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn serve_peers(node: LiveNode, listener: TcpListener, gate: Option<Gate>, stop: CancellationToken) {
    let server = PeerServer::new(Arc::new(node.inbound()));
    let incoming = bounded(tls::incoming(Listener::new(listener), gate), "peers", connections::PEERS_MAX);
    if let Err(error) = server.serve(incoming, stop).await {
        tracing::error!(%error, "peers are served no more");
    }
}

async fn serve_admin(
    admin: ClusterServiceServer<Cluster>,
    record: ProjectionServiceServer<Record>,
    listener: TcpListener,
    gate: Option<Gate>,
    stop: CancellationToken,
) {
    let incoming = bounded(tls::incoming(Listener::new(listener), gate), "admin", connections::ADMINS_MAX);
    let served = tonic::transport::Server::builder()
        .max_concurrent_streams(ADMIN_CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(ADMIN_PING_EVERY))
        .http2_keepalive_timeout(Some(ADMIN_PING_EVERY))
        .add_service(admin.max_decoding_message_size(ADMIN_MESSAGE_BYTES_MAX))
        .add_service(record.max_decoding_message_size(ADMIN_MESSAGE_BYTES_MAX))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin port is served no more");
    }
}

async fn serve_health(listener: TcpListener, vitals: NodeVitals, metrics: Metrics, stop: CancellationToken) {
    let served = async {
        let router = health::router(vitals, metrics);
        axum::serve(Probes::new(listener)?, router).with_graceful_shutdown(stop.cancelled_owned()).await
    };
    if let Err(error) = served.await {
        tracing::error!(%error, "probes and metrics are served no more");
    }
}

/// What the page says of the cluster.
fn overview(node: LiveNode, clients: Urls) -> ClusterSource {
    Arc::new(move || {
        let status = node.local_status();
        let nodes = status.members.iter().map(|member| page::Node {
            id: member.id,
            endpoint: clients.of(member.ordinal).unwrap_or_default(),
            role: match member.role {
                Role::Leader => "leader",
                Role::Follower => "follower",
                Role::Learner => "learner",
            },
            // Only the leader hears from all of them.
            is_reachable: member.says.is_some() || member.since_ack.is_none_or(|since| since < SILENT_AFTER),
        });
        page::Cluster { leader: status.leader, nodes: nodes.collect() }
    })
}

/// A member that has not answered its leader for so long is shown as away.
const SILENT_AFTER: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct NodeVitals {
    node: LiveNode,
}

impl Vitals for NodeVitals {
    fn sight(&self) -> Sight {
        Sight { node: self.node.figures(), view: self.node.replica().view(), tally: self.node.measured().tally() }
    }

    fn unready(&self) -> Option<String> {
        let replica: LiveReplica = self.node.replica();
        replica.serving().err().map(|why| why.to_string())
    }
}
