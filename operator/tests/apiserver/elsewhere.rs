//! Keys that come from elsewhere, as from cert-manager: an operator without any right to Secrets is enough. It also
//! tells a collector what it does.

use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::audit::asked_by;
use super::collector::Collector;
use super::kubelet::Kubelet;
use super::plane::{Plane, plane};
use super::plugin;
use super::stage::{Cluster, Operator};

const NAMESPACE: &str = "elsewhere";
/// Spans are sent every few seconds.
const TOLD_LIMIT: Duration = Duration::from_secs(30);

struct Elsewhere {
    authority: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Elsewhere {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { authority: params.self_signed(&key).expect("signed").pem(), issuer: Issuer::new(params, key) }
    }

    /// Each file, and what is in it.
    fn keys(&self, names: &[&str]) -> [(&'static str, String); 3] {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        [("ca.crt", self.authority.clone()), ("tls.crt", certificate), ("tls.key", key.serialize_pem())]
    }

    async fn secret(&self, plane: &Plane, name: &str, names: &[&str]) {
        let data: serde_json::Map<_, _> =
            self.keys(names).into_iter().map(|(file, text)| (file.to_owned(), json!(text))).collect();
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        super::create(&plane.client(), NAMESPACE, &secret).await;
    }

    fn directory(&self, path: &Path, names: &[&str]) {
        std::fs::create_dir_all(path).expect("a directory");
        for (file, text) in self.keys(names) {
            std::fs::write(path.join(file), text).expect("written");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_from_elsewhere_take_no_right_to_secrets() {
    let Some(plane) = plane() else { return };
    plane.namespace(NAMESPACE).await;
    let elsewhere = Elsewhere::new();
    let hosts = ["*.r-peers.elsewhere.svc.cluster.local", "*.r-peers.elsewhere.svc"];
    elsewhere.secret(plane, "peers-keys", &hosts).await;
    elsewhere.secret(plane, "clients-keys", &["localhost", hosts[0]]).await;
    let own = plane.dir.join("operator-elsewhere-keys");
    elsewhere.directory(&own, &["carrel-admin"]);

    let collector = Collector::serve().await;
    let settings = [
        ("CARREL_ADMIN_TLS_DIR", own.to_str().expect("text")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
    ];
    let operator = Operator::enter_with(plane, NAMESPACE, plane.api_port, &["--without-secrets"], &settings).await;
    let _machine = Kubelet::start(plane, NAMESPACE).await;
    let tls = json!({ "mode": "Secret", "peersSecret": "peers-keys", "clientsMode": "Secret",
        "clientsSecret": "clients-keys" });
    let cluster =
        Cluster::create(plane, NAMESPACE, "r", json!({ "replicas": 1, "image": "carrel:1", "tls": tls })).await;
    cluster.settle().await;
    plugin::connects_by_tls(plane, &cluster, "clients-keys").await;

    let asked = asked_by(plane, &operator.user);
    assert!(asked.len() > 20 && asked.iter().all(|asked| asked.code != 403), "{asked:#?}");
    assert!(asked.iter().all(|asked| asked.right.resource != "secrets"), "{asked:#?}");

    // Whose keys it is to make all the same is told why that cannot be.
    let other = Cluster::create(plane, NAMESPACE, "s", json!({ "replicas": 1, "image": "carrel:1" })).await;
    let is_refused = |message: &str| message.contains("secrets") && message.contains("forbidden");
    other
        .wait("refused", |_, status| {
            status
                .conditions
                .iter()
                .any(|said| said.type_ == "Ready" && said.reason == "Certificates" && is_refused(&said.message))
        })
        .await;

    let began = Instant::now();
    let is_told = || {
        let spans = collector.spans();
        let pass = spans.iter().find(|span| {
            let is = |field: &str, value: &str| span.fields.get(field).is_some_and(|said| said == value);
            span.name == "reconcile" && is("cluster", "r") && is("namespace", NAMESPACE) && is("decision", "Settled")
        });
        pass.is_some_and(|pass| {
            let has = |name: &str| spans.iter().any(|span| span.name == name && span.is_part_of(pass));
            pass.service == "carrel-operator" && pass.begins_a_trace() && has("look") && has("plan")
        })
    };
    while !is_told() {
        assert!(began.elapsed() < TOLD_LIMIT, "{:#?}", collector.spans());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = std::fs::read_to_string(plane.dir.join(format!("operator-{NAMESPACE}.log"))).expect("a log");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let passes: Vec<String> =
        collector.spans().iter().filter(|span| span.name == "reconcile").map(|span| span.trace.clone()).collect();
    let leads_to_trace = |line: &Value| passes.iter().any(|pass| line["span"]["trace_id"] == **pass);
    assert!(lines.iter().any(leads_to_trace), "no line of the log leads to a trace:\n{log}");
}
