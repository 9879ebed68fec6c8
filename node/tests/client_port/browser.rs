//! What a browser does on the same port: HTTP/1.1, gRPC-web and pages.

use carrel_proto::v1;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::desk::House;

/// Sends one request over HTTP/1.1, and reads until the server closes.
async fn send(house: &House, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut connection = TcpStream::connect(house.address).await.expect("a connection");
    let length = body.len();
    let head = format!("{head}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n", house.address);
    connection.write_all(&[head.as_bytes(), body].concat()).await.expect("sent");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    (String::from_utf8(answer[..end].to_vec()).expect("text"), answer[end + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_reaches_the_same_services() {
    let house = House::open().await;
    let message = v1::ListBranchesRequest::default().encode_to_vec();
    let frame = [&[0], (message.len() as u32).to_be_bytes().as_slice(), &message].concat();
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1");
    let (head, body) = send(&house, &post("/carrel.v1.CatalogService/ListBranches"), &frame).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("branches/main") && text.contains("grpc-status:0"), "{text}");

    let (head, body) = send(&house, &post("/carrel.v1.AuthService/GetSession"), &frame).await;
    let all = format!("{head}\n{}", String::from_utf8_lossy(&body)).to_lowercase();
    assert!(all.contains("grpc-status: 16") || all.contains("grpc-status:16"), "{all}");
    assert!(all.contains("grpc-status-details-bin"), "{all}");

    let (head, _) = send(&house, &post("/carrel.v1.NoSuchService/DoThings"), &frame).await;
    assert!(head.to_lowercase().contains("grpc-status: 12"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_at_a_glance_runs_nothing() {
    let house = House::open().await;
    let (head, body) = send(&house, "GET /glance HTTP/1.1", b"").await;
    let (head, page) = (head.to_lowercase(), String::from_utf8_lossy(&body).into_owned());
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(page.contains("Main &lt;Library&gt;") && page.contains("4 of 4 seats"), "{page}");
    assert!(page.contains("http://&lt;here&gt;") && page.contains("leader"), "{page}");
    assert!(!page.contains("<script") && !page.contains("style="), "{page}");

    let (head, body) = send(&house, "GET /glance.css HTTP/1.1", b"").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("text/css"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("prefers-color-scheme: dark"));

    let (head, body) = send(&house, "GET /nowhere HTTP/1.1", b"").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("There is no such page"));
}
