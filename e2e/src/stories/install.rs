//! Installing, trying out, and what an uninstall leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carrel_proto::client::{Client, new_request_id};
use carrel_proto::v1;

use crate::ground::Ground;
use crate::library::{Library, with_namespace};
use crate::report::Figure;
use crate::workload::patient;

pub async fn three(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "install", async |it| try_out(it, 3).await).await
}

pub async fn single(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "single", async |it| try_out(it, 1).await).await
}

async fn try_out(it: &Library, replicas: u32) -> anyhow::Result<Vec<Figure>> {
    let began = Instant::now();
    let size = format!("replicas={replicas}");
    // As it comes, with the sample campus.
    let said = it.install_sample(&["--set", &size]).await?;
    anyhow::ensure!(said.contains("kubectl carrel status library"), "the notes do not say how to go on: {said}");
    let client = Client::new(it.addresses().nodes, patient())?;
    book(&client).await?;
    let booked = began.elapsed();
    it.is_whole(replicas).await?;
    let whole = began.elapsed();
    it.helm_test().await?;
    let said = it.ground.kubectl(&["-n", &it.namespace, "logs", "library-rehearsal"]).await?;
    let count = if replicas == 1 { "1 node".to_owned() } else { format!("{replicas} nodes") };
    anyhow::ensure!(said.contains(&count), "helm test has not read from {count}: {said}");
    Ok(vec![
        Figure::within("from helm install to the first booking", booked, Duration::from_secs(60)),
        Figure::seen("until everything was as wanted", format!("{:.1} s", whole.as_secs_f64())),
        Figure::seen("helm test", said.trim()),
    ])
}

/// The first booking of a campus: by whoever comes first, in a hall that is open all night.
async fn book(client: &Client) -> anyhow::Result<()> {
    let (user_id, password) = ("amy".to_owned(), "correct horse battery".to_owned());
    let register =
        |request_id| v1::RegisterRequest { request_id, user_id: user_id.clone(), password: password.clone() };
    client.register(register(new_request_id())).await?;
    let login = v1::LoginRequest { user_id: user_id.clone(), password: password.clone() };
    let client = client.clone().with_session(&client.login(login).await?.session_token)?;
    let start = (jiff::Timestamp::now().as_second().div_euclid(3600) + 1) * 3600;
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let interval = Some(v1::Interval { start_time: at(start), end_time: at(start + 3600) });
    let seat = "branches/lindenhof/seats/a-001".to_owned();
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        let request = v1::CreateReservationRequest {
            request_id: new_request_id(),
            seat: seat.clone(),
            interval,
            ..v1::CreateReservationRequest::default()
        };
        match client.create_reservation(request).await {
            Ok(_) => return Ok(()),
            // The catalogue is imported, and its days expanded, in the first moments.
            Err(_) if began.elapsed() < Duration::from_secs(20) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub async fn again(ground: Arc<Ground>) -> anyhow::Result<Vec<Figure>> {
    with_namespace(ground, "reinstall", async |it| {
        it.install(&[]).await?;
        it.is_whole(3).await?;
        let before = it.cluster().await?.status.and_then(|status| status.cluster_id);
        let work = it.clients_work().await?;
        it.uninstall().await?;
        let away = Instant::now();
        it.install(&[]).await?;
        it.is_whole(3).await?;
        let back = away.elapsed();
        let after = it.cluster().await?.status.and_then(|status| status.cluster_id);
        let judged = work.end(3).await?;
        Ok(vec![
            Figure::seen("the same cluster as before", (before == after).to_string()),
            Figure::seen("from helm install to whole", format!("{:.1} s", back.as_secs_f64())),
            Figure::seen("bookings that stood at the end", judged.judgement.acknowledged.to_string()),
        ])
    })
    .await
}
