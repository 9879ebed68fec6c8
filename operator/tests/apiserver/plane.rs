//! A control plane of its own for this test binary: etcd, kube-apiserver and kube-controller-manager on ports and in a
//! directory of its own, with RBAC on, owner references checked as on OpenShift, and an audit log. It ends with the
//! process,
//! however that ends.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::config::Kubeconfig;
use kube::{Api, Client, Config};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;

const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];
/// What the plane needs to start on a machine that does other things, too.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Requests, with who made them and what became of them; of a watch, when it began.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ['*']
- level: Metadata
";

pub struct Plane {
    pub dir: PathBuf,
    pub api_port: u16,
    parts: Vec<Child>,
}

/// The one of this process; none, with a word about it, where its programs are not.
pub fn plane() -> Option<&'static Plane> {
    static PLANE: OnceLock<Option<Plane>> = OnceLock::new();
    PLANE.get_or_init(Plane::start).as_ref()
}

fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("CARREL_KUBE_BIN_DIR").map(PathBuf::from);
    let usual = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/localkube/bin"));
    let dir = named.or_else(usual)?;
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !dir.join(program).is_file()).collect();
    if missing.is_empty() {
        return Some(dir);
    }
    println!("skipped: no {} in {} (CARREL_KUBE_BIN_DIR says where they are)", missing.join(", "), dir.display());
    None
}

impl Plane {
    fn start() -> Option<Self> {
        let programs = programs()?;
        let dir = tempfile::Builder::new().prefix("carrel-plane").tempdir().expect("a directory").keep();
        // All held, then let go: nobody gets the same one twice.
        let [etcd, peers, api] = [(); 3]
            .map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"))
            .map(|listener| listener.local_addr().expect("bound").port());
        certificates(&dir);
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("written");
        write("tokens.csv", "secret,admin,1,system:masters\n");
        write("audit.yaml", AUDIT_POLICY);
        let mut plane = Self { dir: dir.clone(), api_port: api, parts: Vec::new() };
        write("kubeconfig", &plane.kubeconfig(api, "secret", "default"));
        let d = dir.display();
        let (client_url, peer_url) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peers}"));
        let etcd_flags = format!(
            "--data-dir={d}/etcd --listen-client-urls={client_url} --advertise-client-urls={client_url} \
             --listen-peer-urls={peer_url} --initial-advertise-peer-urls={peer_url} \
             --initial-cluster=default={peer_url} --unsafe-no-fsync --log-level=warn"
        );
        let api_flags = format!(
            "--etcd-servers={client_url} --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port={api} \
             --tls-cert-file={d}/server.crt --tls-private-key-file={d}/server.key --cert-dir={d}/api \
             --token-auth-file={d}/tokens.csv --authorization-mode=RBAC \
             --service-account-issuer=https://kubernetes.default.svc --service-account-key-file={d}/sa.pub \
             --service-account-signing-key-file={d}/sa.key --service-cluster-ip-range=10.0.0.0/16 \
             --endpoint-reconciler-type=none --disable-admission-plugins=ServiceAccount \
             --enable-admission-plugins=OwnerReferencesPermissionEnforcement --enable-priority-and-fairness=false \
             --shutdown-delay-duration=0s --audit-policy-file={d}/audit.yaml --audit-log-path={d}/audit.log \
             --kubelet-preferred-address-types=InternalIP"
        );
        let controller_flags = format!(
            "--kubeconfig={d}/kubeconfig --authentication-kubeconfig={d}/kubeconfig \
             --authorization-kubeconfig={d}/kubeconfig --leader-elect=false --secure-port=0 \
             --controllers=statefulset-controller,garbage-collector-controller,namespace-controller,\
             persistentvolumeclaim-protection-controller"
        );
        plane.parts.push(supervise(&dir, r#"; rm -rf "$dir""#, &programs.join("etcd"), &etcd_flags));
        plane.parts.push(supervise(&dir, "", &programs.join("kube-apiserver"), &api_flags));
        let began = Instant::now();
        // In a thread of its own: the caller may be in a runtime.
        while !std::thread::scope(|scope| scope.spawn(|| plane.is_ready()).join().expect("it does not panic")) {
            assert!(began.elapsed() < START_LIMIT, "no API server: the logs are in {}", plane.dir.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        plane.parts.push(supervise(&dir, "", &programs.join("kube-controller-manager"), &controller_flags));
        std::thread::scope(|scope| scope.spawn(|| plane.furnish()).join().expect("the definitions are taken"));
        println!("a control plane after {:.1} s", began.elapsed().as_secs_f64());
        Some(plane)
    }

    fn is_ready(&self) -> bool {
        block_on(async {
            let ask = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            self.client().request_text(ask).await.is_ok_and(|text| text == "ok")
        })
    }

    /// What every test needs.
    fn furnish(&self) {
        block_on(async {
            let client = self.client();
            super::install_definitions(&client).await;
            let class = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": { "name": "growing" }, "provisioner": "nobody", "allowVolumeExpansion": true });
            super::create(&client, "", &class).await;
        });
    }

    /// For a program: who it is, and through which port.
    pub fn kubeconfig(&self, port: u16, token: &str, namespace: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": self.dir.join("ca.crt") } }],
        });
        config.to_string()
    }

    /// As somebody who may do everything. A client lives in the runtime it was made in.
    pub fn client(&self) -> Client {
        self.client_of("secret")
    }

    pub fn client_of(&self, token: &str) -> Client {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(self.api_port, token, "default"));
        let mut config = Config::try_from(kubeconfig.expect("well-formed")).expect("a usable one");
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    pub async fn namespace(&self, name: &str) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let namespaces: Api<Namespace> = Api::all(self.client());
        let namespace = serde_json::from_value(namespace).expect("well-formed");
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace of our own");
    }

    /// By which a ServiceAccount proves itself, as from within a pod.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let ask = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let made = accounts.create_token_request(account, &PostParams::default(), &ask).await.expect("a token");
        made.status.expect("it was made").token
    }
}

/// A static is never dropped; its pipes close with the process all the same.
impl Drop for Plane {
    fn drop(&mut self) {
        for mut part in self.parts.drain(..).rev() {
            drop(part.stdin.take());
            let _ = part.wait();
        }
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(what)
}

/// Below a shell that ends the program once our end of its standard input closes: at drop, exit, abort or SIGKILL.
fn supervise(dir: &Path, after: &str, program: &Path, flags: &str) -> Child {
    let name = program.file_name().expect("a program has a name");
    let log = fs::File::create(dir.join(name).with_extension("log")).expect("a log");
    let script = format!(r#"dir=$1; shift; "$@" & p=$!; read _; kill $p; wait $p{after}"#);
    Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(dir)
        .arg(program)
        .args(flags.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("a shell")
}

fn certificates(dir: &Path) {
    let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("written");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let [authority_key, key, accounts] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
    write("ca.crt", authority.self_signed(&authority_key).expect("signed").pem());
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut server = CertificateParams::new(names).expect("names");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let issuer = Issuer::new(authority, authority_key);
    write("server.crt", server.signed_by(&key, &issuer).expect("signed").pem());
    write("server.key", key.serialize_pem());
    write("sa.key", accounts.serialize_pem());
    write("sa.pub", accounts.public_key_pem());
}
