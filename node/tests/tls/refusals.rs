//! Whoever lacks the right certificate gets in nowhere, is told why as far as TLS allows, and holds nobody up.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use carrel_node::certs::Purpose;
use carrel_proto::admin::v1::GetStatusRequest;
use carrel_proto::client::{Client, ClientError, Options, Tls};
use carrel_proto::peer::v1::ReadStatusRequest;
use carrel_proto::peer::v1::peer_service_client::PeerServiceClient;
use carrel_proto::v1::ListBranchesRequest;

use crate::keyring::{Keyring, VALID, authority, caller, expired, signed};
use crate::stage::Demo;

async fn admin(client: &Client) -> Result<u64, ClientError> {
    client.get_status(GetStatusRequest { local: true }).await.map(|status| status.leader)
}

/// A caller that is let in says nothing of its route, and is refused for that: by the service, behind TLS.
async fn peer(client: &Client) -> Result<(), ClientError> {
    let ask = |channel, request| async move { PeerServiceClient::new(channel).read_status(request).await };
    client.call(ReadStatusRequest {}, ask).await.map(|_| ())
}

fn told<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Unreachable(why)) => why.to_string(),
        other => panic!("got in: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_certificate_nobody_gets_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, strangers) = (authority("ours"), authority("strangers"));
    Keyring::at(dir.path()).fill(&ours);
    let demo = Demo::start(dir.path(), &["--tls"]);
    let url = |offset: u16| format!("https://127.0.0.1:{}", demo.port + offset);
    let (client_url, peer_url, admin_url) = (url(0), url(10), url(20));
    let trusted = ours.certificate();

    // The right ones.
    let (a_peer, an_admin) = (signed(&ours, Purpose::Peers), signed(&ours, Purpose::Admin));
    assert!(admin(&caller(&admin_url, &trusted, Some(&an_admin))).await.expect("an admin gets in") > 0);
    let let_in = peer(&caller(&peer_url, &trusted, Some(&a_peer))).await;
    assert!(matches!(&let_in, Err(ClientError::Refused(_))), "{let_in:?}");
    let anybody = caller(&client_url, &trusted, None);
    anybody.list_branches(ListBranchesRequest::default()).await.expect("clients show no certificate");

    // The wrong ones, on both ports.
    let elsewhere = ours.sign(Purpose::Peers, &["replica.example.org".to_owned()], VALID).expect("a certificate");
    let wrong = [
        ("none", None),
        ("of strangers", Some(signed(&strangers, Purpose::Admin))),
        ("of strangers, a peer", Some(signed(&strangers, Purpose::Peers))),
        ("expired", Some(expired(&ours, Purpose::Admin))),
        ("expired, a peer", Some(expired(&ours, Purpose::Peers))),
        ("of another host", Some(elsewhere)),
        ("of the client port", Some(signed(&ours, Purpose::Clients))),
    ];
    for (what, pair) in &wrong {
        for told_so in [
            told(admin(&caller(&admin_url, &trusted, pair.as_ref())).await),
            told(peer(&caller(&peer_url, &trusted, pair.as_ref())).await),
        ] {
            eprintln!("{what}: {told_so}");
        }
    }
    // Each in the other's place.
    told(admin(&caller(&admin_url, &trusted, Some(&a_peer))).await);
    told(peer(&caller(&peer_url, &trusted, Some(&an_admin))).await);

    // A server that the caller has no reason to trust.
    let told_so = told(admin(&caller(&admin_url, &strangers.certificate(), Some(&an_admin))).await);
    assert!(told_so.contains("not from an authority that is trusted here"), "{told_so}");
    let options = Options { deadline: Duration::from_secs(2), ..Options::default() };
    let tls = Tls::trusting(trusted.clone()).expecting("replica.example.org");
    let misnamed = Client::secured([&client_url], options, &tls).expect("an address");
    let told_so = told(misnamed.list_branches(ListBranchesRequest::default()).await);
    assert!(told_so.contains("for another name"), "{told_so}");

    // TLS where there is none, and none where there is.
    let told_so = told(admin(&caller(&url(30), &trusted, Some(&an_admin))).await);
    assert!(told_so.contains("does not speak TLS"), "{told_so}");
    for port in [0, 10, 20] {
        let plain = Client::new([format!("http://127.0.0.1:{}", demo.port + port)], options).expect("an address");
        // HTTP/2 reports what it read or that the connection closed, whichever it notices first.
        let mut said = Vec::new();
        while said.len() < 10 && !said.iter().any(|why: &String| why.contains("does not speak plain HTTP/2")) {
            said.push(told(admin(&plain).await));
        }
        assert!(said.len() < 10, "{said:?}");
    }

    // Those who never say a word lose their place, and cost nobody else theirs.
    let address: SocketAddr = format!("127.0.0.1:{}", demo.port + 20).parse().expect("an address");
    let mut silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).expect("connected")).collect();
    let started = Instant::now();
    admin(&caller(&admin_url, &trusted, Some(&an_admin))).await.expect("an admin gets in beside them");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        assert_eq!(stream.read(&mut [0; 16]).expect("closed, not waited for"), 0);
    }
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());

    // What people see.
    let ca = dir.path().join("ca.crt");
    std::fs::write(&ca, &trusted).expect("written");
    let ca = ca.to_string_lossy();
    demo.carrel("amy", &["branches", "--ca", &ca]).ok();
    // Who has keys and an admin port needs to name nothing else.
    for (file, text) in [("admin.crt", &an_admin.certificate), ("admin.key", &an_admin.key)] {
        std::fs::write(dir.path().join(file), text).expect("written");
    }
    let backup = dir.path().join("library.backup");
    let saved = std::process::Command::new(env!("CARGO_BIN_EXE_carrel"))
        .args(["backup", "save"])
        .arg(&backup)
        .args(["--admin", &admin_url, "--ca", &ca])
        .arg("--cert")
        .arg(dir.path().join("admin.crt"))
        .arg("--key")
        .arg(dir.path().join("admin.key"))
        .output()
        .expect("the carrel binary starts");
    assert!(saved.status.success() && backup.exists(), "{}", String::from_utf8_lossy(&saved.stderr));
    let no_authority = demo.carrel("amy", &["branches"]);
    assert_eq!(no_authority.code(), 2, "{}", no_authority.stderr());
    assert!(no_authority.stderr().contains("--ca FILE"), "{}", no_authority.stderr());
    demo.stop();
}
