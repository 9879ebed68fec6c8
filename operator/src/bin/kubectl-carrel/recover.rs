//! `kubectl carrel recover`: goes on after a majority was lost for good, once a person has read what may be lost by it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use carrel_operator::crd::{CarrelCluster, CarrelRecovery, CarrelRecoveryStatus, RecoveryPhase};
use clap::Args;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::access::{Access, within};
use crate::failure::Failure;
use crate::text::{facts, note, plain, say, table};

const FIELD_MANAGER: &str = "kubectl-carrel";
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Go on with what one survivor has, after a majority was lost for good
///
/// First the operator surveys what each volume in reach holds, and says how many acknowledged entries may be lost at
/// most. Nothing happens until somebody approves exactly that survey, here or with --approve. Nodes of the old lineage
/// are refused afterwards: if a majority may still come back, bring it back instead.
#[derive(Args, Debug)]
pub struct Recover {
    /// The cluster, if there are several
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Approve the survey with this digest, without being asked
    #[arg(long, value_name = "DIGEST")]
    approve: Option<String>,
    /// Seconds to wait for the survey, and for the end
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
}

impl Recover {
    pub async fn run(self, access: &Access) -> Result<ExitCode, Failure> {
        let cluster = access.cluster(self.cluster.as_deref()).await?;
        let name = cluster.name_any();
        let recoveries: Api<CarrelRecovery> = Api::namespaced(access.client.clone(), &access.namespace);
        let recovery = match under_way(&recoveries, &name).await? {
            Some(recovery) => recovery,
            None => ask_for_survey(&recoveries, &cluster).await?,
        };
        let is_surveyed = |status: &CarrelRecoveryStatus| status.digest.is_some() || is_over(status);
        let recovery = self.wait(&recoveries, &recovery.name_any(), "the survey", is_surveyed).await?;
        let status = recovery.status.clone().unwrap_or_default();
        if access.is_json() && self.approve.is_none() {
            say(&serde_json::to_string(&status).expect("plain data"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if !access.is_json() {
            say(&survey(&name, &status))?;
        }
        if is_over(&status) {
            return ended(access, &status);
        }
        let digest = status.digest.clone().ok_or_else(|| Failure::Refused("the survey has no digest".to_owned()))?;
        if recovery.spec.approve.is_none() {
            self.confirm(&name, &digest)?;
            approve(&recoveries, &recovery, &digest).await?;
        }
        let recovery = self.wait(&recoveries, &recovery.name_any(), "the end", is_over).await?;
        ended(access, &recovery.status.unwrap_or_default())
    }

    async fn wait(
        &self,
        recoveries: &Api<CarrelRecovery>,
        name: &str,
        what: &str,
        until: impl Fn(&CarrelRecoveryStatus) -> bool,
    ) -> Result<CarrelRecovery, Failure> {
        let ends = Instant::now() + Duration::from_secs(self.timeout);
        let mut told = None;
        loop {
            let recovery = within("read the recovery", recoveries.get(name)).await?;
            let status = recovery.status.clone().unwrap_or_default();
            if until(&status) {
                return Ok(recovery);
            }
            if told != Some(status.phase) {
                let phase = status.phase.map_or_else(|| "asked for".to_owned(), |phase| format!("{phase:?}"));
                note(&format!("{name}: {phase} {}", status.message.as_deref().unwrap_or_default()));
                told = Some(status.phase);
            }
            if Instant::now() >= ends {
                let seconds = self.timeout;
                let why = format!("{what} has not come within {seconds} s; it goes on: kubectl get crr {name}");
                return Err(Failure::Unreachable(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn confirm(&self, cluster: &str, digest: &str) -> Result<(), Failure> {
        if let Some(approved) = &self.approve {
            return if approved == digest {
                Ok(())
            } else {
                Err(Failure::Refused(format!("the survey has another digest by now, {digest}: read it again")))
            };
        }
        let (mut input, mut output) = (String::new(), std::io::stderr());
        if !std::io::stdin().is_terminal() {
            let how = format!("kubectl carrel recover {cluster} --approve {digest}");
            return Err(Failure::Usage(format!("nobody is here to approve it: {how}")));
        }
        let asked =
            write!(output, "\nType the name of the cluster to accept that loss: ").and_then(|()| output.flush());
        asked
            .and_then(|()| std::io::stdin().read_line(&mut input))
            .map_err(|source| Failure::Local { doing: "cannot ask".to_owned(), source })?;
        if input.trim() == cluster {
            Ok(())
        } else {
            Err(Failure::Refused("not approved; nothing is changed".to_owned()))
        }
    }
}

async fn under_way(recoveries: &Api<CarrelRecovery>, cluster: &str) -> Result<Option<CarrelRecovery>, Failure> {
    let all = within("list recoveries", recoveries.list(&ListParams::default())).await?.items;
    let goes_on = |recovery: &CarrelRecovery| !recovery.status.as_ref().is_some_and(is_over);
    Ok(all.into_iter().find(|recovery| recovery.spec.cluster == cluster && goes_on(recovery)))
}

/// Only for a cluster that has said that it needs it: a recovery of a healthy one would throw entries away.
async fn ask_for_survey(recoveries: &Api<CarrelRecovery>, cluster: &CarrelCluster) -> Result<CarrelRecovery, Failure> {
    let name = cluster.name_any();
    let status = cluster.status.clone().unwrap_or_default();
    let required = status.conditions.iter().find(|condition| condition.type_ == "RecoveryRequired");
    if required.is_none_or(|required| required.status != "True") {
        let why = status.decision.map_or_else(|| "nobody has looked at it yet".to_owned(), |decision| decision.why);
        return Err(Failure::Refused(format!("{name} needs no recovery: {why}")));
    }
    let recovery = json!({
        "apiVersion": CarrelRecovery::api_version(&()),
        "kind": CarrelRecovery::kind(&()),
        "metadata": { "generateName": format!("{name}-") },
        "spec": { "cluster": name },
    });
    let recovery = serde_json::from_value(recovery).expect("it is what the definition asks for");
    let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    within("ask for a recovery", recoveries.create(&how, &recovery)).await
}

/// Of exactly the object whose survey was read.
async fn approve(recoveries: &Api<CarrelRecovery>, read: &CarrelRecovery, digest: &str) -> Result<(), Failure> {
    let patch = json!({
        "metadata": { "resourceVersion": read.resource_version(), "uid": read.uid() },
        "spec": { "approve": digest },
    });
    let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    within("approve the survey", recoveries.patch(&read.name_any(), &how, &Patch::Merge(patch))).await?;
    Ok(())
}

fn is_over(status: &CarrelRecoveryStatus) -> bool {
    matches!(status.phase, Some(RecoveryPhase::Done | RecoveryPhase::Failed))
}

fn ended(access: &Access, status: &CarrelRecoveryStatus) -> Result<ExitCode, Failure> {
    if access.is_json() {
        say(&serde_json::to_string(status).expect("plain data"))?;
    }
    let message = plain(status.message.as_deref().unwrap_or_default());
    if status.phase == Some(RecoveryPhase::Failed) {
        return Err(Failure::Refused(format!("the recovery failed: {message}")));
    }
    if !access.is_json() {
        let lineage = status.new_lineage.map(|lineage| format!(" in lineage {lineage}")).unwrap_or_default();
        say(&format!("Recovered{lineage}. {message}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As plain data: each line shows what the operator states, and nothing where it states nothing.
fn survey(cluster: &str, status: &CarrelRecoveryStatus) -> String {
    let status = serde_json::to_value(status).expect("plain data");
    let said = |of: &Value, field: &str| match &of[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |survivor: &Value| {
        let is_chosen = !survivor["ordinal"].is_null() && survivor["ordinal"] == status["chosen"];
        [
            format!("{cluster}-{}", said(survivor, "ordinal")),
            said(survivor, "lineage"),
            said(survivor, "lastLogTerm"),
            said(survivor, "lastLogIndex"),
            if is_chosen { "chosen" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<[String; 5]> = status["survivors"].as_array().into_iter().flatten().map(row).collect();
    let survivors = if rows.is_empty() {
        "No volume in reach holds anything.".to_owned()
    } else {
        table(["SURVIVOR", "LINEAGE", "LAST TERM", "LAST INDEX", ""], &rows)
    };
    let lineage = match said(&status, "newLineage") {
        lineage if lineage.is_empty() => lineage,
        lineage => format!("{lineage}; nodes of the one before are refused from then on"),
    };
    let head = facts(&[
        ("Loss", loss(&status)),
        ("Lineage", lineage),
        ("Digest", said(&status, "digest")),
        ("Message", said(&status, "message")),
    ]);
    format!("{survivors}\n\n{head}")
}

/// The stated bound.
fn loss(status: &Value) -> String {
    match status["keptThrough"].as_str() {
        Some(until) => format!("what was acknowledged after {until} by nodes that are gone; everything before is kept"),
        None => "not known".to_owned(),
    }
}
