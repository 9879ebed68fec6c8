//! `carrel top`: what the dashboards show, in a terminal, from the nodes themselves.

mod screen;
mod watched;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use tokio::runtime::Runtime;

use super::context::print;
use super::errors::Failure;
use crate::scrape;
use watched::Watched;

/// Watch the nodes live: who leads, how far each is, what is asked and refused
///
/// Reads the metrics ports and not --endpoints, so it needs no session and goes on while nothing leads; `carrel demo`
/// prints where its are. q or Ctrl-C ends it. Where the output is no terminal it shows one picture and ends.
#[derive(Args, Debug)]
pub(super) struct Top {
    /// Metrics of the nodes
    #[arg(long, env = "CARREL_METRICS", value_name = "URL,URL", value_delimiter = ',', hide_env_values = true)]
    #[arg(default_value = DEMO)]
    metrics: Vec<String>,

    /// Between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
}

/// Where the nodes of `carrel demo` are.
const DEMO: &str = "http://127.0.0.1:7430/metrics,http://127.0.0.1:7431/metrics,http://127.0.0.1:7432/metrics";

pub(super) fn run(runtime: &Runtime, top: &Top) -> Result<(), Failure> {
    let mut watched = Watched::new(&top.metrics);
    let every = Duration::from_secs(top.every);
    let look = || runtime.block_on(futures_util::future::join_all(top.metrics.iter().map(|url| scrape::read(url))));
    watched.saw(look());
    if !std::io::stdout().is_terminal() {
        // A rate needs two looks.
        std::thread::sleep(every);
        watched.saw(look());
        return print(&screen::text(&watched));
    }
    let show = |terminal: &mut ratatui::DefaultTerminal| -> std::io::Result<()> {
        loop {
            terminal.draw(|frame| screen::draw(frame, &watched))?;
            if event::poll(every)? {
                if is_end(&event::read()?) {
                    return Ok(());
                }
                continue;
            }
            watched.saw(look());
        }
    };
    ratatui::run(show).map_err(|source| Failure::Local { doing: "drawing on the terminal".into(), source })
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}
