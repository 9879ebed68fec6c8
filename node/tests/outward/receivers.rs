//! The other ends: a mail server and a receiver of events, which do what a test wants them to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How the other end behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Closes every connection without a word.
    Away,
    /// Takes what comes, and closes before it says so; once.
    LosesOneReply,
    /// Refuses for now: a 4xx of SMTP, a 503 of HTTP; once.
    RefusesOnce,
    /// Points elsewhere; once.
    PointsElsewhereOnce,
}

/// What has arrived, in order.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The first line of a request; to whom a mail went.
    pub to: String,
}

impl Arrived {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

#[derive(Debug)]
struct Inside {
    mood: Mood,
    arrived: Vec<Arrived>,
}

#[derive(Clone, Debug)]
pub struct Receiver {
    pub port: u16,
    inside: Arc<Mutex<Inside>>,
}

impl Receiver {
    pub fn of_mail() -> Self {
        Self::listen(mail)
    }

    pub fn of_events() -> Self {
        Self::listen(events)
    }

    fn listen(serve: fn(TcpStream, &Self) -> std::io::Result<()>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let receiver = Self { port, inside: Arc::new(Mutex::new(Inside { mood: Mood::Well, arrived: Vec::new() })) };
        let shared = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                if shared.mood() != Mood::Away {
                    thread::spawn(move || serve(stream, &shared));
                }
            }
        });
        receiver
    }

    pub fn mood(&self) -> Mood {
        self.inside.lock().expect("no test panics with it").mood
    }

    pub fn be(&self, mood: Mood) {
        self.inside.lock().expect("no test panics with it").mood = mood;
    }

    /// Whether this is the time for it; afterwards it is well.
    fn once(&self, mood: Mood) -> bool {
        let mut inside = self.inside.lock().expect("no test panics with it");
        let is_now = inside.mood == mood;
        if is_now {
            inside.mood = Mood::Well;
        }
        is_now
    }

    /// The one that it is in, which is over by that if it lasts for once.
    fn spend_mood(&self) -> Mood {
        let mut inside = self.inside.lock().expect("no test panics with it");
        match inside.mood {
            lasting @ (Mood::Well | Mood::Away) => lasting,
            _ => std::mem::replace(&mut inside.mood, Mood::Well),
        }
    }

    fn take(&self, arrived: Arrived) {
        self.inside.lock().expect("no test panics with it").arrived.push(arrived);
    }

    pub fn arrived(&self) -> Vec<Arrived> {
        self.inside.lock().expect("no test panics with it").arrived.clone()
    }

    /// Once so many of them are as wanted, or the test fails.
    pub fn wait_for(&self, count: usize, what: &str, wanted: impl Fn(&Arrived) -> bool) -> Vec<Arrived> {
        let started = Instant::now();
        loop {
            let arrived: Vec<_> = self.arrived().into_iter().filter(|arrived| wanted(arrived)).collect();
            if arrived.len() >= count {
                return arrived;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: {} of {count} arrived", arrived.len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn mail(stream: TcpStream, receiver: &Receiver) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let mut to = String::new();
    out.write_all(b"220 test ESMTP\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => out.write_all(b"250-test\r\n250 8BITMIME\r\n")?,
            "RCPT" => {
                to = line;
                out.write_all(b"250 ok\r\n")?;
            }
            "DATA" => {
                if receiver.once(Mood::RefusesOnce) {
                    out.write_all(b"451 later\r\n")?;
                    continue;
                }
                out.write_all(b"354 go on\r\n")?;
                let mut arrived = Arrived { headers: BTreeMap::new(), body: String::new(), to: to.clone() };
                let mut is_body = false;
                for line in lines.by_ref() {
                    let line = line?;
                    match line.split_once(": ") {
                        _ if line == "." => break,
                        _ if line.is_empty() => is_body = true,
                        Some((name, value)) if !is_body => {
                            arrived.headers.insert(name.to_ascii_lowercase(), value.to_owned());
                        }
                        // A soft line break of quoted-printable.
                        _ => match line.strip_suffix('=') {
                            Some(half) => arrived.body += half,
                            None => arrived.body += &format!("{line}\n"),
                        },
                    }
                }
                receiver.take(arrived);
                if receiver.once(Mood::LosesOneReply) {
                    return Ok(());
                }
                out.write_all(b"250 taken\r\n")?;
            }
            "QUIT" => {
                out.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => out.write_all(b"250 ok\r\n")?,
        }
    }
    Ok(())
}

fn events(stream: TcpStream, receiver: &Receiver) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        // Before anybody can see that it is here: a mood that comes after that is for the next.
        let mood = receiver.spend_mood();
        receiver.take(Arrived {
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            to: first.trim_end().into(),
        });
        let answer = match mood {
            Mood::Away | Mood::LosesOneReply => return Ok(()),
            Mood::RefusesOnce => "503 Service Unavailable\r\n".to_owned(),
            Mood::PointsElsewhereOnce => {
                format!("307 Temporary Redirect\r\nlocation: http://127.0.0.1:{}/elsewhere\r\n", receiver.port)
            }
            Mood::Well => "204 No Content\r\n".to_owned(),
        };
        out.write_all(format!("HTTP/1.1 {answer}content-length: 0\r\n\r\n").as_bytes())?;
    }
}
