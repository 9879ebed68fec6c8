//! A dashboard as a picture, for whoever has no Grafana at hand: SVG, from what Prometheus answered.

use std::fmt::Write;

use crate::source::{Board, Panel, Shape, Unit};
use crate::watcher::Series;

/// A column of Grafana's 24.
const COLUMN: f64 = 50.0;
const ROW: f64 = 28.0;
const GAP: f64 = 8.0;
const HEAD: f64 = 56.0;
/// More series than can be told apart are not named.
const NAMED_MAX: usize = 6;
const COLOURS: [&str; 8] = ["#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b58900", "#1f9d9d", "#6b6b6b"];
/// A picture of a minute needs no more.
const POINTS_MAX: usize = 120;

/// Panel by panel what was answered: the name of a series, and its course.
pub type Answered = Vec<Vec<(String, Series)>>;

pub fn svg(board: &Board, answered: &Answered, from: f64, to: f64) -> String {
    let (mut x, mut y, mut row_height) = (0, 0, 0);
    let mut body = String::new();
    for (panel, series) in board.panels.iter().zip(answered) {
        let height = if panel.shape == Shape::Number { 4 } else { 7 };
        if x + panel.width > 24 {
            (x, y, row_height) = (0, y + row_height, 0);
        }
        row_height = row_height.max(height);
        let area = Area {
            x: f64::from(x) * COLUMN + GAP,
            y: HEAD + f64::from(y) * ROW + GAP,
            width: f64::from(panel.width) * COLUMN - GAP,
            height: f64::from(height) * ROW - GAP,
        };
        body.push_str(&draw(panel, series, &area, from, to));
        x += panel.width;
    }
    let (width, height) = (24.0 * COLUMN + 2.0 * GAP, HEAD + f64::from(y + row_height) * ROW + 2.0 * GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#f4f5f7\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"18\" font-weight=\"bold\">Carrel / {}</text>\n\
         <text x=\"16\" y=\"46\" fill=\"#555\">{}</text>\n{body}</svg>\n",
        escaped(board.title),
        escaped(board.question),
    )
}

struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

fn draw(panel: &Panel, series: &[(String, Series)], area: &Area, from: f64, to: f64) -> String {
    let Area { x, y, width, height } = area;
    let mut out = format!(
        "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"#fff\" \
         stroke=\"#d8d9da\"/><text x=\"{:.0}\" y=\"{:.0}\" font-weight=\"bold\">{}</text>\n",
        escaped(panel.meaning),
        x + 8.0,
        y + 16.0,
        escaped(panel.title),
    );
    let inner = Area { x: x + 56.0, y: y + 26.0, width: width - 68.0, height: height - 60.0 };
    match panel.shape {
        Shape::Timeline(yes, _) => out.push_str(&timeline(series, &inner, yes, from, to)),
        Shape::Lines | Shape::Stacked => out.push_str(&lines(panel, series, &inner, from, to)),
        Shape::Number => {
            let newest = series.iter().filter_map(|(_, series)| series.points.last()).map(|(_, value)| *value);
            let value = newest.fold(f64::NAN, f64::max);
            let value =
                if panel.unit == Unit::Moment { moment(value / 1000.0 - to) } else { worded(value, panel.unit) };
            let _ = write!(out, "<text x=\"{:.0}\" y=\"{:.0}\" font-size=\"26\">{value}</text>", x + 12.0, y + 62.0);
        }
        Shape::Table => {
            for (row, (_, series)) in series.iter().take(NAMED_MAX).enumerate() {
                let labels = series.labels.as_object().into_iter().flatten();
                let text: Vec<String> =
                    labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
                let place = y + 36.0 + 18.0 * row as f64;
                let _ =
                    write!(out, "<text x=\"{:.0}\" y=\"{place:.0}\">{}</text>", x + 12.0, escaped(&text.join("  ")));
            }
        }
    }
    out.push_str("</g>\n");
    out
}

fn timeline(series: &[(String, Series)], area: &Area, yes: &str, from: f64, to: f64) -> String {
    let mut out = String::new();
    let row = area.height / series.len().max(1) as f64;
    let across = |at: f64| area.x + 60.0 + (at - from) / (to - from).max(1.0) * (area.width - 60.0);
    for (index, (name, series)) in series.iter().enumerate() {
        let top = area.y + row * index as f64;
        let _ = write!(out, "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>", area.x - 44.0, top + row / 2.0, escaped(name));
        for pair in series.points.windows(2) {
            let ((at, value), (next, _)) = (pair[0], pair[1]);
            // A node that was away told nothing.
            let until = next.min(at + 2.0);
            let colour = if value >= 1.0 { "#37872d" } else { "#dadde1" };
            let (left, right) = (across(at), across(until));
            let _ = write!(
                out,
                "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                top + 2.0,
                right - left + 0.3,
                row - 4.0
            );
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"#37872d\">green: {}</text>",
        area.x,
        area.y + area.height + 18.0,
        escaped(yes)
    );
    out
}

fn lines(panel: &Panel, series: &[(String, Series)], area: &Area, from: f64, to: f64) -> String {
    let mut out = String::new();
    let values = || series.iter().flat_map(|(_, series)| series.points.iter().map(|(_, value)| *value));
    let highest = values().fold(f64::NEG_INFINITY, f64::max);
    let lowest =
        values().fold(f64::INFINITY, f64::min).min(if panel.unit == Unit::Count { f64::INFINITY } else { 0.0 });
    let highest = if highest > lowest { highest } else { lowest + 1.0 };
    let across = |at: f64| area.x + (at - from) / (to - from).max(1.0) * area.width;
    let up = |value: f64| area.y + area.height - (value - lowest) / (highest - lowest) * area.height;
    for share in [0.0, 0.5, 1.0] {
        let value = lowest + (highest - lowest) * share;
        let _ = write!(
            out,
            "<line x1=\"{:.0}\" x2=\"{:.0}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#e6e7e8\"/><text x=\"{:.0}\" y=\"{:.0}\" \
             text-anchor=\"end\" fill=\"#666\">{}</text>",
            area.x,
            area.x + area.width,
            up(value),
            up(value),
            area.x - 4.0,
            up(value) + 4.0,
            worded(value, panel.unit),
        );
    }
    for (index, (name, series)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let every = series.points.len().div_ceil(POINTS_MAX).max(1);
        let mut path = String::new();
        let mut last = f64::NEG_INFINITY;
        for (at, value) in series.points.iter().step_by(every) {
            let pen = if at - last > 2.5 * every as f64 { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.0} {:.1}", across(*at), up(*value));
            last = *at;
        }
        let _ = write!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"/>");
        if index < NAMED_MAX {
            let (column, row) = (index % 3, index / 3);
            let (left, top) = (
                area.x - 44.0 + column as f64 * (area.width + 44.0) / 3.0,
                area.y + area.height + 15.0 + 13.0 * row as f64,
            );
            let _ = write!(
                out,
                "<text x=\"{left:.0}\" y=\"{top:.0}\" fill=\"{colour}\">{}</text>",
                escaped(&shortened(name))
            );
        }
    }
    out
}

fn shortened(name: &str) -> String {
    let name = name.rsplit_once("Service/").map_or(name, |(_, method)| method);
    name.chars().take(26).collect()
}

fn moment(seconds: f64) -> String {
    let (ahead, seconds) = (seconds >= 0.0, seconds.abs());
    let text = if seconds >= 172_800.0 { format!("{:.0} days", seconds / 86_400.0) } else { format!("{seconds:.0} s") };
    if ahead { format!("in {text}") } else { format!("{text} ago") }
}

fn worded(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds if value.abs() < 0.001 => format!("{:.0} us", value * 1e6),
        Unit::Seconds if value.abs() < 1.0 => format!("{:.1} ms", value * 1e3),
        Unit::Seconds => format!("{value:.1} s"),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Bytes | Unit::BytesPerSecond if value.abs() >= 1e6 => format!("{:.0} MB", value / 1e6),
        Unit::Bytes | Unit::BytesPerSecond => format!("{:.1} kB", value / 1e3),
        Unit::Count | Unit::PerSecond | Unit::Moment if value.abs() >= 1e4 => format!("{:.1}k", value / 1e3),
        Unit::Count | Unit::PerSecond | Unit::Moment => {
            if value.fract() == 0.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.2}")
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
