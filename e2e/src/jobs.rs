//! Verbs for what runs beside the nodes: backups and other commands by whoever may reach the admin port.

use anyhow::Context;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{ListParams, PostParams};
use kube::runtime::conditions;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::library::{Library, PATIENCE};
use crate::wait::until;

/// With which a cluster has a schedule of backups that none of the stories lives to see.
pub const SCHEDULED: [&str; 4] = ["--set", "backup.schedule=0 0 1 1 *", "--set", "backup.keep=2"];
pub const BACKUP: &str = "library-backup";

/// What a Job left behind.
pub struct Ran {
    /// Of the pod that did it.
    pub pod: String,
    pub machine: String,
    pub said: String,
}

impl Library {
    /// As the schedule would, but now: the file is `<pod>.backup` on the claim [`BACKUP`].
    pub async fn save_backup(&self, name: &str) -> anyhow::Result<Ran> {
        let from = format!("--from=cronjob/{BACKUP}");
        self.ground.kubectl(&["-n", &self.namespace, "create", "job", &from, name]).await?;
        let ran = self.ran(name).await?;
        anyhow::ensure!(ran.said.contains("whole"), "the backup was not read back: {}", ran.said);
        Ok(ran)
    }

    /// Another command where backups run, with the same keys.
    pub async fn run_beside_backups(&self, name: &str, command: &[&str]) -> anyhow::Result<Ran> {
        let schedule: CronJob = self.api::<CronJob>().get(BACKUP).await?;
        let spec = schedule.spec.context("a schedule has a spec")?.job_template.spec;
        let mut job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name } });
        job["spec"] = serde_json::to_value(spec)?;
        job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(command);
        self.api::<Job>().create(&PostParams::default(), &serde_json::from_value(job)?).await?;
        self.ran(name).await
    }

    async fn ran(&self, name: &str) -> anyhow::Result<Ran> {
        let jobs: Api<Job> = self.api();
        until(&jobs, name, PATIENCE, "done", conditions::is_job_completed()).await?;
        let of_it = ListParams::default().labels(&format!("job-name={name}")).fields("status.phase=Succeeded");
        let pod = self.pods().list(&of_it).await?.items.pop().context("a Job that is done has a pod")?;
        let machine = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("it ran somewhere")?;
        let pod = pod.name_any();
        let said = self.ground.kubectl(&["-n", &self.namespace, "logs", &pod]).await?;
        Ok(Ran { pod, machine, said })
    }
}
