//! Reads what nodes tell Prometheus, for tools that want it without one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A node that does not answer in this time is left out.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A node has some thousand lines of metrics; more is something else.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What one node told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    series: Vec<Series>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// None of a node that cannot be asked.
pub async fn read(url: &str) -> Option<Scrape> {
    Scrape::parse(&tokio::time::timeout(ANSWER_LIMIT, fetch(url)).await.ok()??)
}

/// The text, however long it takes. The metrics port is plain HTTP; 1.0, so that the answer ends where the connection
/// does.
pub async fn fetch(url: &str) -> Option<String> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(host).await.ok()?;
    stream.write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split_whitespace().nth(1).filter(|status| *status == "200")?;
    Some(body.to_owned())
}

impl Scrape {
    /// None of a text that is not of this form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Some(Self { series: lines.map(Series::parse).collect::<Option<_>>()? })
    }

    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.iter()
    }

    pub fn named(&self, name: &str) -> impl Iterator<Item = &Series> {
        self.all().filter(move |series| series.name == name)
    }

    /// Of the one series of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.named(name).next().map(|series| series.value)
    }

    /// Of all series of this name.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.named(name).map(|series| series.value).sum()
    }
}

impl Series {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let value = value.parse().ok()?;
        let Some((name, labels)) = series.split_once('{') else {
            return Some(Self { name: series.to_owned(), labels: BTreeMap::new(), value });
        };
        let mut rest = labels.strip_suffix('}')?;
        let mut labels = BTreeMap::new();
        while let Some((label, after)) = rest.split_once("=\"") {
            let end = closing_quote(after)?;
            labels.insert(label.trim_start_matches(',').to_owned(), unescaped(&after[..end]));
            rest = &after[end + 1..];
        }
        rest.is_empty().then(|| Self { name: name.to_owned(), labels, value })
    }

    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(place, letter)| {
        let ends = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends.then_some(place)
    })
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            (letter, false) => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_told_apart_by_their_whole_names_and_labels() {
        let text = "# TYPE a gauge\na_seconds 9\na 12\na{x=\"1\",y=\"say \\\"so\\\", \\\\ a=\\\"b\\\"\"} 3.5\nb +Inf\n";
        let scrape = Scrape::parse(text).expect("it is of the form");
        let values: Vec<f64> = scrape.named("a").map(|series| series.value).collect();
        assert_eq!(values, [12.0, 3.5]);
        let labelled = scrape.named("a").nth(1).expect("two of them");
        assert_eq!((labelled.label("x"), labelled.label("y")), ("1", "say \"so\", \\ a=\"b\""));
        assert_eq!(scrape.value("b"), Some(f64::INFINITY));
        assert_eq!(scrape.value("c"), None);
        assert_eq!(scrape.sum("a"), 15.5);
        assert_eq!(Scrape::parse("a{x=\"1} 2"), None);
        assert_eq!(Scrape::parse("no number"), None);
    }
}
