//! One port for clients: gRPC, gRPC-web, health, reflection and the page.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use carrel_proto::v1::audit_service_server::AuditServiceServer;
use carrel_proto::v1::auth_service_server::AuthServiceServer;
use carrel_proto::v1::calendar_service_server::CalendarServiceServer;
use carrel_proto::v1::catalog_service_server::CatalogServiceServer;
use carrel_proto::v1::inbox_service_server::InboxServiceServer;
use carrel_proto::v1::integration_service_server::IntegrationServiceServer;
use carrel_proto::v1::message_service_server::MessageServiceServer;
use carrel_proto::v1::report_service_server::ReportServiceServer;
use carrel_proto::v1::reservation_service_server::ReservationServiceServer;
use carrel_proto::v1::seat_service_server::SeatServiceServer;
use carrel_proto::v1::user_service_server::UserServiceServer;
use carrel_proto::v1::waitlist_service_server::WaitlistServiceServer;
use futures_util::Stream;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower::Service;

use crate::connections::Held;
use crate::grpc::audit::Audit;
use crate::grpc::auth::Auth;
use crate::grpc::bounds::{self, CATALOG_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::grpc::calendars::{self, Calendars};
use crate::grpc::catalog::Catalog;
use crate::grpc::fair_share::admit;
use crate::grpc::front::Front;
use crate::grpc::inbox::Inbox;
use crate::grpc::library::Library;
use crate::grpc::messages::Messages;
use crate::grpc::reports::Reports;
use crate::grpc::request_metrics::{RequestMetrics, measure};
use crate::grpc::reservations::Reservations;
use crate::grpc::seat_map::SeatMaps;
use crate::grpc::seats::Seats;
use crate::grpc::users::Users;
use crate::grpc::waitlist::Waitlist;
use crate::grpc::watch::Patience;
use crate::grpc::webhooks::Webhooks;
use crate::page::{self, ClusterSource};

/// For calls under way when the node goes; streams end by themselves at once.
const GRACE: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Of one connection. The page of a browser opens a handful, a proxy may carry a building.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// Calls of one connection that were called off before this node has looked at them. Whoever opens calls only to reset
/// them makes work without end. After a pause of this node there may be some, and then the client connects again.
const CALLED_OFF_MAX: usize = 256;
/// All headers of a call: a session token, a trace and whatever proxies add.
const HEADER_BYTES_MAX: u32 = 16 << 10;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// What is served on the client port.
#[derive(Debug)]
pub struct ClientPort {
    routes: Routes,
    maps: SeatMaps,
    /// As health and reflection know them.
    names: Vec<&'static str>,
}

impl ClientPort {
    /// With the services of the library itself.
    #[must_use]
    pub fn new<L: Library>(front: &Front<L>) -> Self {
        Self::with_patience(front, Patience::default())
    }

    /// As [`ClientPort::new`], with streams that wait so long.
    #[must_use]
    pub fn with_patience<L: Library>(front: &Front<L>, patience: Patience) -> Self {
        macro_rules! small {
            ($server:ident, $service:expr) => {
                $server::new($service).max_decoding_message_size(MESSAGE_BYTES_MAX)
            };
        }
        let catalog = CatalogServiceServer::new(Catalog(front.clone())).max_decoding_message_size(CATALOG_BYTES_MAX);
        let maps = SeatMaps::default();
        Self { routes: Routes::default(), maps: maps.clone(), names: Vec::new() }
            .with(small!(AuthServiceServer, Auth(front.clone())))
            .with(small!(UserServiceServer, Users(front.clone())))
            .with(catalog)
            .with(small!(SeatServiceServer, Seats { front: front.clone(), maps, patience }))
            .with(small!(ReservationServiceServer, Reservations(front.clone())))
            .with(small!(WaitlistServiceServer, Waitlist(front.clone())))
            .with(small!(InboxServiceServer, Inbox { front: front.clone(), patience }))
            .with(small!(MessageServiceServer, Messages(front.clone())))
            .with(small!(ReportServiceServer, Reports(front.clone())))
            .with(small!(AuditServiceServer, Audit(front.clone())))
            .with(small!(CalendarServiceServer, Calendars(front.clone())))
            .with(small!(IntegrationServiceServer, Webhooks(front.clone())))
    }

    /// With one more service.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<tonic::body::Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Everything that answers on the port. Health follows `serving` until the node drains. Must be called inside a
    /// Tokio runtime.
    pub fn router<L: Library>(
        self,
        front: &Front<L>,
        metrics: RequestMetrics,
        serving: watch::Receiver<bool>,
        cluster: ClusterSource,
    ) -> axum::Router {
        let Self { routes, maps, names } = self;
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(carrel_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        for name in &names {
            reflection = reflection.with_service_name(*name);
        }
        let reflection = reflection.build_v1().expect("the descriptors are made with the code");
        tokio::spawn(maps.remember(front.library.clone(), front.draining.clone()));
        tokio::spawn(report_health(reporter, names, serving, front.draining.clone()));
        // Of the layers the last one sees a call first. Those inside of gRPC-web see its calls like any other.
        let grpc = routes
            .add_service(health)
            .add_service(reflection)
            .into_axum_router()
            .layer(from_fn_with_state(Arc::new(Door { front: front.clone(), metrics }), enter))
            .layer(GrpcWebLayer::new());
        let (library, calendars) = (front.library.clone(), front.library.clone());
        let calendar = move |file, headers| calendars::file(calendars.clone(), file, headers);
        grpc.route(calendars::PATH, get(calendar))
            .route(page::GLANCE_PATH, get(move || async move { page::glance(&library.view(), &cluster()) }))
            .route(page::STYLE_PATH, get(page::style))
            .fallback(elsewhere)
    }
}

/// What every call goes through, whatever its method.
struct Door<L> {
    front: Front<L>,
    metrics: RequestMetrics,
}

/// From the outside to the inside. One layer and not five: each is copied with all that is inside of it for every call.
async fn enter<L: Library>(State(door): State<Arc<Door<L>>>, request: Request, next: Next) -> Response {
    let Door { front, metrics } = &*door;
    let answered = |request| bounds::in_our_words(request, |request| next.run(request));
    let allowed = |request| bounds::large_from_admins(front, request, answered);
    let in_time = |request| bounds::in_time(request, allowed);
    let admitted = |request| admit(front, request, in_time);
    measure(metrics, request, admitted).await
}

/// Answers on every connection that `incoming` brings until the node drains, then for as long as calls under way
/// need, but not for long.
///
/// # Errors
/// If the port cannot be served.
pub async fn serve(
    router: axum::Router,
    incoming: impl Stream<Item = Result<Held, Infallible>> + Send,
    draining: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let serving = tonic::transport::Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(CALLED_OFF_MAX))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(router, incoming, draining.clone().cancelled_owned());
    let grace_is_over = async {
        draining.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = grace_is_over => Ok(()),
    }
}

/// A node that does not serve says so to load balancers before anybody has to find out.
async fn report_health(
    reporter: HealthReporter,
    names: Vec<&'static str>,
    mut serving: watch::Receiver<bool>,
    draining: CancellationToken,
) {
    let mut is_told = true;
    loop {
        let is_serving = *serving.borrow_and_update() && !draining.is_cancelled();
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        // The empty name is the whole server.
        for name in names.iter().copied().chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        if draining.is_cancelled() {
            return;
        }
        tokio::select! {
            changed = serving.changed(), if is_told => is_told = changed.is_ok(),
            () = draining.cancelled() => {}
        }
    }
}

/// Neither a method nor a page.
async fn elsewhere(request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return bounds::no_such_method();
    }
    page::app::answer(request.method(), request.uri().path(), request.headers())
}
