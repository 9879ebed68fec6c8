//! Access to the API server, as kubectl has it, and the cluster that is meant.

use std::time::Duration;

use carrel_operator::build::CLUSTER_LABEL;
use carrel_operator::crd::CarrelCluster;
use carrel_operator::observe::ordinal;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

use crate::failure::Failure;
use crate::{Globals, Output};

/// An API server that says nothing for so long is not there.
const API_LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

pub struct Access {
    pub client: Client,
    pub namespace: String,
    pub globals: Globals,
}

impl Access {
    pub async fn open(globals: Globals) -> Result<Self, Failure> {
        let mut config = configuration(&globals).await?;
        // A person waits, and asks again when it suits them.
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_LIMIT);
        let namespace = globals.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|error| Failure::Usage(format!("the kubeconfig cannot be used: {error}")))?;
        Ok(Self { client, namespace, globals })
    }

    pub fn is_json(&self) -> bool {
        self.globals.output == Output::Json
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn clusters(&self) -> Api<CarrelCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The cluster of this name, or the only one there is.
    pub async fn cluster(&self, name: Option<&str>) -> Result<CarrelCluster, Failure> {
        match name {
            Some(name) => match within("read the cluster", self.clusters().get_opt(name)).await? {
                Some(cluster) => Ok(cluster),
                None => Err(self.no_such_cluster(name).await),
            },
            None => {
                let mut list = within("list clusters", self.clusters().list(&ListParams::default())).await?.items;
                let namespace = &self.namespace;
                match list.len() {
                    1 => Ok(list.remove(0)),
                    0 => Err(Failure::Refused(format!("there is no CarrelCluster in namespace {namespace}: try -n"))),
                    _ => Err(Failure::Usage(format!("which cluster? {}", names(&list)))),
                }
            }
        }
    }

    async fn no_such_cluster(&self, name: &str) -> Failure {
        let there = self.clusters().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let there = match there.len() {
            0 => "there is none: try -n".to_owned(),
            _ => format!("there is {}", names(&there)),
        };
        Failure::Refused(format!("no CarrelCluster {name:?} in namespace {}; {there}", self.namespace))
    }

    /// The pods of a cluster in the order of their ordinals.
    pub async fn pods_of(&self, cluster: &CarrelCluster) -> Result<Vec<Pod>, Failure> {
        let selector = format!("{CLUSTER_LABEL}={}", cluster.name_any());
        let which = ListParams::default().labels(&selector);
        let mut pods = within("list pods", self.pods().list(&which)).await?.items;
        pods.sort_by_key(|pod| ordinal(&cluster.name_any(), &pod.name_any()));
        Ok(pods)
    }
}

/// One question to the API server, with an end.
pub async fn within<T>(doing: &str, asked: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(API_LIMIT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::asking(doing, &error)),
        Err(_) => {
            let seconds = API_LIMIT.as_secs();
            Err(Failure::Unreachable(format!("cannot {doing}: the API server says nothing for {seconds} s")))
        }
    }
}

async fn configuration(globals: &Globals) -> Result<Config, Failure> {
    let options = KubeConfigOptions { context: globals.context.clone(), ..KubeConfigOptions::default() };
    let unusable = |error: kube::config::KubeconfigError| Failure::Usage(format!("no kubeconfig to go by: {error}"));
    match &globals.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(unusable)
        }
        None if globals.context.is_some() => Config::from_kubeconfig(&options).await.map_err(unusable),
        None => {
            let inferred = Config::infer().await;
            inferred.map_err(|error| Failure::Usage(format!("no kubeconfig to go by: {error}")))
        }
    }
}

fn names(list: &[CarrelCluster]) -> String {
    let names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
    names.join(", ")
}
