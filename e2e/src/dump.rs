//! What a cluster said when its story went wrong, in a folder for whoever looks into it.

use std::path::Path;

use crate::ground::Ground;

/// What cannot be had is left out: a dump never hides why it was made.
pub async fn dump(ground: &Ground, namespace: &str, folder: &Path) {
    if let Err(error) = std::fs::create_dir_all(folder) {
        println!("    {} cannot be written: {error}", folder.display());
        return;
    }
    let write = |file: &str, text: String| {
        if let Err(error) = std::fs::write(folder.join(file), text) {
            println!("    {file} cannot be written: {error}");
        }
    };
    let looks: [(&str, &[&str]); 4] = [
        ("clusters.yaml", &["get", "crl,crr", "-o", "yaml"]),
        ("objects.txt", &["get", "all,pvc,pdb,secret,configmap,networkpolicy,lease", "-o", "wide"]),
        ("pods.txt", &["describe", "pods"]),
        ("events.txt", &["get", "events", "--sort-by=.lastTimestamp"]),
    ];
    for (file, args) in looks {
        let args: Vec<&str> = ["-n", namespace].iter().chain(args).copied().collect();
        write(file, ground.kubectl(&args).await.unwrap_or_else(|error| format!("{error:#}")));
    }
    let pods = ground.kubectl(&["-n", namespace, "get", "pods", "-o", "name"]).await.unwrap_or_default();
    for pod in pods.lines() {
        for (how, flag) in [("", "--previous=false"), (".before", "--previous=true")] {
            let logs = ground.kubectl(&["-n", namespace, "logs", pod, "--tail=2000", "--all-containers", flag]).await;
            if let Ok(logs) = logs {
                write(&format!("{}{how}.log", pod.trim_start_matches("pod/")), logs);
            }
        }
    }
    println!("    see {}", folder.display());
}
