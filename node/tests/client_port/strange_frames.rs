//! Callers that speak HTTP/2 by hand, to no good end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use carrel_proto::v1;
use carrel_proto::v1::auth_service_client::AuthServiceClient;

use crate::desk::{House, call};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM_AND_HEADERS: u8 = 0x5;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u32 = 0xb;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A call of some method, in HPACK: POST and http by index, the rest spelled out.
fn call_headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(0x04, "/carrel.v1.SeatService/SearchSeats"), (0x01, "localhost")] {
        block.extend([name, u8::try_from(value.len()).expect("short")]);
        block.extend(value.bytes());
    }
    block
}

async fn connect(house: &House) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.expect("the port listens");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("it listens");
    stream
}

/// The payload of the next frame of this kind.
async fn next(stream: &mut TcpStream, wanted: u8) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == wanted {
            return Some(payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_says_what_a_connection_may_have() {
    let house = House::open().await;
    let settings = next(&mut connect(&house).await, SETTINGS).await.expect("the server's first frame");
    let setting = |wanted: u8| {
        let found = settings.chunks(6).find(|setting| setting[..2] == [0, wanted]);
        found.map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
    };
    let (concurrent_streams, header_list_bytes) = (setting(3), setting(6));
    assert_eq!((concurrent_streams, header_list_bytes), (Some(1_024), Some(16 << 10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_calls_only_to_reset_them_is_cut_off() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let mut stream = connect(&house).await;
    let headers = call_headers();
    let mut flood = Vec::new();
    for number in 0..20_000 {
        let id = 2 * number + 1;
        flood.extend(frame(HEADERS, END_STREAM_AND_HEADERS, id, &headers));
        flood.extend(frame(RST_STREAM, 0, id, &CANCEL));
    }
    let (mut reading, mut writing) = stream.split();
    // The server may close before it has taken all.
    let flooding = async {
        let _ = writing.write_all(&flood).await;
        std::future::pending::<()>().await
    };
    let hearing = async {
        let mut bytes = Vec::new();
        let _ = reading.read_to_end(&mut bytes).await;
        bytes
    };
    let heard = timeout(Duration::from_secs(20), async {
        tokio::select! { heard = hearing => heard, () = flooding => unreachable!("it never ends by itself") }
    });
    let heard = heard.await.expect("the connection is ended");
    let goaway = goaway_code(&heard);
    assert!(goaway.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{goaway:?}");
    call!(amy, AuthServiceClient, get_session, v1::GetSessionRequest::default()).expect("others are served");
}

fn goaway_code(mut frames: &[u8]) -> Option<u32> {
    while let Some((head, rest)) = frames.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, rest) = rest.split_at_checked(length)?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(*payload.get(4..)?.first_chunk()?));
        }
        frames = rest;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_not_taken_in() {
    let house = House::open().await;
    let amy = house.newcomer("amy").await;
    let mut request = amy.asks(v1::GetSessionRequest::default());
    request.metadata_mut().insert("x-long", "a".repeat(32 << 10).parse().expect("a value"));
    let refused = AuthServiceClient::new(amy.channel.clone()).get_session(request).await;
    refused.expect_err("twice what is taken");
    call!(amy, AuthServiceClient, get_session, v1::GetSessionRequest::default()).expect("an ordinary call");
}
