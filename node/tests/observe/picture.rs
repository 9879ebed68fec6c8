//! A dashboard as a picture, for whoever has no Grafana at hand: SVG, from what Prometheus answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::source::{Board, Panel, Shape, Unit};
use crate::watcher::Series;

/// A column of Grafana's 24.
const COLUMN: f64 = 50.0;
const ROW: f64 = 28.0;
const GAP: f64 = 10.0;
const HEAD: f64 = 60.0;
/// More series than can be told apart are not named.
const NAMED_MAX: usize = 6;
const COLOURS: [&str; 8] = ["#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b58900", "#1f9d9d", "#6b6b6b"];
const ORANGE: &str = "#e0752d";
const RED: &str = "#c4162a";
const YES: &str = "#37872d";
const NO: &str = "#d8dce2";
/// A picture of a minute needs no more.
const POINTS_MAX: usize = 120;
/// Of what was seen. Panels look back over a minute, and before that has passed they know little.
const SHOWN_SECONDS: f64 = 60.0;
/// Scrapes are a second apart; what tells nothing for longer was away.
const AWAY_AFTER: f64 = 2.5;

/// Panel by panel what was answered: the name of a series, and its course.
pub type Answered = Vec<Vec<(String, Series)>>;

pub fn svg(board: &Board, answered: &Answered, to: f64) -> String {
    let points = answered.iter().flatten().flat_map(|(_, series)| series.points.first());
    // Before the first scrape there is nothing to see.
    let first = points.map(|(at, _)| *at).fold(to - 1.0, f64::min);
    let span = Span { from: first.max(to - SHOWN_SECONDS), to };
    let (mut x, mut y, mut row_height) = (0, 0, 0);
    let mut body = String::new();
    for (panel, series) in board.panels.iter().zip(answered) {
        let series = shown(series, span);
        let height = if panel.shape == Shape::Number { 4 } else { 7 };
        if x + panel.width > 24 {
            (x, y, row_height) = (0, y + row_height, 0);
        }
        row_height = row_height.max(height);
        let area = Area {
            x: f64::from(x) * COLUMN + GAP,
            y: HEAD + f64::from(y) * ROW,
            width: f64::from(panel.width) * COLUMN - GAP,
            height: f64::from(height) * ROW - GAP,
        };
        body.push_str(&draw(panel, &series, &area, span));
        x += panel.width;
    }
    let (width, height) = (24.0 * COLUMN + GAP, HEAD + f64::from(y + row_height) * ROW);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif\" font-size=\"11\" fill=\"#24292f\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#f4f5f7\"/>\n\
         <text x=\"{GAP}\" y=\"28\" font-size=\"18\" font-weight=\"600\">Carrel / {}</text>\n\
         <text x=\"{GAP}\" y=\"46\" fill=\"#57606a\">{}</text>\n{body}</svg>\n",
        escaped(board.title),
        escaped(board.question),
    )
}

/// Within the picture; of more than can be told apart those first that are the most.
fn shown(series: &[(String, Series)], span: Span) -> Vec<(String, Series)> {
    let within = |(name, of): &(String, Series)| {
        let points = of.points.iter().filter(|(at, _)| *at >= span.from).copied().collect();
        (name.clone(), Series { labels: of.labels.clone(), points })
    };
    let mut shown: Vec<(String, Series)> = series.iter().map(within).collect();
    if shown.len() > NAMED_MAX {
        let most = |of: &Series| of.points.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        shown.sort_by(|(_, one), (_, other)| most(other).total_cmp(&most(one)));
    }
    shown
}

/// About.
fn width_of(text: &str) -> f64 {
    let letter = |letter: char| match letter {
        'i' | 'l' | 'j' | 't' | 'f' | '.' | ',' | ' ' | '(' | ')' | '/' => 3.8,
        'm' | 'w' | 'M' | 'W' => 9.4,
        letter if letter.is_uppercase() => 8.0,
        _ => 6.6,
    };
    text.chars().map(letter).sum()
}

#[derive(Clone, Copy)]
struct Span {
    from: f64,
    to: f64,
}

struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn across(&self, at: f64, span: Span) -> f64 {
        self.x + (at - span.from) / (span.to - span.from).max(1.0) * self.width
    }

    fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

fn draw(panel: &Panel, series: &[(String, Series)], area: &Area, span: Span) -> String {
    let Area { x, y, width, height } = area;
    let mut out = format!(
        "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\" fill=\"#fff\" \
         stroke=\"#d8dce2\"/><text x=\"{:.0}\" y=\"{:.0}\" font-weight=\"600\">{}</text>\n",
        escaped(panel.meaning),
        x + 12.0,
        y + 18.0,
        escaped(panel.title),
    );
    match panel.shape {
        Shape::Timeline(yes, no) => {
            let names = series.iter().map(|(name, _)| width_of(name)).fold(0.0, f64::max);
            let inner = Area { x: x + 24.0 + names, y: y + 30.0, width: width - names - 36.0, height: height - 76.0 };
            timeline(&mut out, series, &inner, span);
            let words = [(YES, yes), (NO, no)].map(|(colour, word)| (colour, word.to_owned()));
            legend(&mut out, &words, inner.x, inner.bottom() + 34.0, inner.width);
        }
        Shape::Lines | Shape::Stacked => {
            let inner = Area { x: x + 62.0, y: y + 30.0, width: width - 76.0, height: height - 88.0 };
            lines(&mut out, panel, series, &inner, span);
            let named = series.iter().take(NAMED_MAX).map(|(name, _)| shortened(name));
            let named: Vec<_> = COLOURS.into_iter().zip(named).collect();
            legend(&mut out, &named, x + 12.0, inner.bottom() + 29.0, width - 24.0);
        }
        Shape::Number => {
            let newest = series.iter().filter_map(|(_, series)| series.points.last()).map(|(_, value)| *value);
            let value = newest.fold(f64::NAN, f64::max);
            let text =
                if panel.unit == Unit::Moment { moment(value / 1000.0 - span.to) } else { worded(value, panel.unit) };
            let colour = panel.thresholds.map_or("#24292f", |(orange, red)| judged(value, orange, red));
            let _ = writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\" font-size=\"28\" fill=\"{colour}\">{text}</text>",
                x + 12.0,
                y + 66.0
            );
        }
        Shape::Table => table(&mut out, series, area),
    }
    out.push_str("</g>\n");
    out
}

fn judged(value: f64, orange: f64, red: f64) -> &'static str {
    let is_past = |limit: f64| if orange <= red { value >= limit } else { value <= limit };
    if is_past(red) {
        RED
    } else if is_past(orange) {
        ORANGE
    } else {
        YES
    }
}

fn timeline(out: &mut String, series: &[(String, Series)], area: &Area, span: Span) {
    let row = area.height / series.len().max(1) as f64;
    for (index, (name, series)) in series.iter().enumerate() {
        let (top, middle) = (area.y + row * index as f64, area.y + row * (index as f64 + 0.5) + 4.0);
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{middle:.0}\" text-anchor=\"end\">{}</text>",
            area.x - 8.0,
            escaped(name)
        );
        for (from, to, value) in stretches(&series.points) {
            let (left, right) = (area.across(from, span), area.across(to, span));
            let (colour, width) = (if value >= 1.0 { YES } else { NO }, right - left);
            let (top, height) = (top + 3.0, row - 6.0);
            let _ = writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
            );
        }
    }
    clock(out, area, span);
}

/// From when to when it was what.
fn stretches(points: &[(f64, f64)]) -> Vec<(f64, f64, f64)> {
    let mut found: Vec<(f64, f64, f64)> = Vec::new();
    for (at, value) in points {
        match found.last_mut() {
            Some((_, until, before)) if at - *until < AWAY_AFTER => {
                *until = *at;
                if before != value {
                    found.push((*at, *at, *value));
                }
            }
            _ => found.push((*at, *at, *value)),
        }
    }
    found
}

fn lines(out: &mut String, panel: &Panel, series: &[(String, Series)], area: &Area, span: Span) {
    let is_stacked = panel.shape == Shape::Stacked;
    let courses = if is_stacked { stacked(series) } else { series.iter().map(|(_, of)| of.points.clone()).collect() };
    let values = || courses.iter().flatten().map(|(_, value)| *value);
    let (lowest, highest) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    // An index is read by its slope, everything else by its height.
    let is_index = !is_stacked && panel.unit == Unit::Count && lowest > 0.0 && highest > 1.3 * lowest && lowest > 100.0;
    let scale = Scale::of(if is_index { lowest } else { lowest.min(0.0) }, highest, panel.unit);
    let up = |value: f64| area.bottom() - (value - scale.from) / (scale.to - scale.from) * area.height;
    for value in scale.ticks() {
        let _ = writeln!(
            out,
            "<line x1=\"{:.0}\" x2=\"{:.0}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"#e6e8eb\"/><text x=\"{3:.0}\" y=\"{4:.1}\" \
             text-anchor=\"end\" fill=\"#57606a\">{5}</text>",
            area.x,
            area.x + area.width,
            up(value),
            area.x - 6.0,
            up(value) + 4.0,
            worded(value, panel.unit),
        );
    }
    for (limit, colour) in panel.thresholds.iter().flat_map(|(orange, red)| [(*orange, ORANGE), (*red, RED)]) {
        if limit > scale.from && limit < scale.to {
            let _ = writeln!(
                out,
                "<line x1=\"{:.0}\" x2=\"{:.0}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"{colour}\" stroke-dasharray=\"4 3\"/>",
                area.x,
                area.x + area.width,
                up(limit),
            );
        }
    }
    // The topmost of a stack first: what is below lies over it.
    let order: Vec<usize> = if is_stacked { (0..courses.len()).rev().collect() } else { (0..courses.len()).collect() };
    for index in order {
        let (colour, points) = (COLOURS[index % COLOURS.len()], &courses[index]);
        let path = path(points, area, span, up);
        if is_stacked && let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) {
            let (first, last, bottom) = (area.across(*first, span), area.across(*last, span), area.bottom());
            let top = path.replace('M', "L");
            let _ = writeln!(
                out,
                "<path d=\"M{first:.1} {bottom:.1}{top}L{last:.1} {bottom:.1}Z\" fill=\"{colour}\" stroke=\"#fff\" stroke-width=\"0.5\"/>"
            );
        } else {
            let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>");
        }
    }
    clock(out, area, span);
}

fn path(points: &[(f64, f64)], area: &Area, span: Span, up: impl Fn(f64) -> f64) -> String {
    let every = points.len().div_ceil(POINTS_MAX).max(1);
    let (mut path, mut last) = (String::new(), f64::NEG_INFINITY);
    for (at, value) in points.iter().step_by(every) {
        let pen = if at - last > AWAY_AFTER * every as f64 { 'M' } else { 'L' };
        let _ = write!(path, "{pen}{:.1} {:.1}", area.across(*at, span), up(*value));
        last = *at;
    }
    path
}

/// Each on top of those before it, where all are known.
fn stacked(series: &[(String, Series)]) -> Vec<Vec<(f64, f64)>> {
    let moments: BTreeSet<u64> =
        series.iter().flat_map(|(_, of)| of.points.iter().map(|(at, _)| at.to_bits())).collect();
    let mut below: BTreeMap<u64, f64> = moments.into_iter().map(|at| (at, 0.0)).collect();
    let mut courses = Vec::new();
    for (_, of) in series {
        for (at, value) in &of.points {
            *below.entry(at.to_bits()).or_default() += value;
        }
        courses.push(below.iter().map(|(at, sum)| (f64::from_bits(*at), *sum)).collect());
    }
    courses
}

/// Round numbers from below the lowest value to above the highest.
struct Scale {
    from: f64,
    to: f64,
    step: f64,
}

impl Scale {
    fn of(lowest: f64, highest: f64, unit: Unit) -> Self {
        let (lowest, highest) = if lowest.is_finite() { (lowest, highest.max(lowest)) } else { (0.0, 1.0) };
        let least = match unit {
            Unit::Count | Unit::Moment => 2.0,
            Unit::PerSecond => 1.0,
            Unit::Seconds => 0.001,
            Unit::Share => 0.01,
            Unit::Bytes | Unit::BytesPerSecond => 1_000.0,
        };
        let width = (highest - lowest).max(least);
        let rough = width / 3.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|by| by * power).find(|step| *step >= rough).unwrap_or(rough);
        let from = (lowest / step).floor() * step;
        let to = (from + step).max((highest / step - 1e-9).ceil() * step);
        Self { from, to, step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (from, step) = (self.from, self.step);
        (0_u32..10).map(move |nth| from + f64::from(nth) * step).take_while(|value| *value <= self.to + self.step / 2.0)
    }
}

/// Seconds since the picture begins.
fn clock(out: &mut String, area: &Area, span: Span) {
    let length = span.to - span.from;
    let every = [5.0, 10.0, 20.0, 30.0, 60.0].into_iter().find(|every| length / every <= 6.0).unwrap_or(120.0);
    let mut at = 0.0;
    while at <= length {
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#8b949e\" font-size=\"10\">{at:.0} s</text>",
            area.across(span.from + at, span),
            area.bottom() + 14.0,
        );
        at += every;
    }
}

fn legend(out: &mut String, names: &[(&str, String)], x: f64, y: f64, width: f64) {
    let (mut left, mut top) = (x, y);
    for (colour, name) in names {
        let takes = width_of(name) + 25.0;
        if left + takes > x + width + 12.0 && left > x {
            (left, top) = (x, top + 14.0);
        }
        let _ = writeln!(
            out,
            "<rect x=\"{left:.0}\" y=\"{:.0}\" width=\"9\" height=\"9\" rx=\"2\" fill=\"{colour}\"/><text x=\"{:.0}\" \
             y=\"{top:.0}\" fill=\"#424a53\">{}</text>",
            top - 8.0,
            left + 13.0,
            escaped(name),
        );
        left += takes;
    }
}

/// One row for each node: what its labels say, and the values of its other metrics.
fn table(out: &mut String, series: &[(String, Series)], area: &Area) {
    let mut rows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (_, series) in series {
        let label = |name: &str| series.labels[name].as_str().unwrap_or_default().to_owned();
        let row = rows.entry(label("instance")).or_default();
        for name in ["ordinal", "node_id", "lineage", "version", "incarnation", "cluster_id"] {
            if !label(name).is_empty() {
                row.insert(name.to_owned(), label(name));
            }
        }
        let (name, value) = (label("__name__"), series.points.last().map_or(0.0, |(_, value)| *value));
        if !name.ends_with("_info") {
            row.insert(name.rsplit("raft_").next().unwrap_or_default().to_owned(), worded(value, Unit::Count));
        }
    }
    let columns: [(&str, f64); 7] = [
        ("ordinal", 150.0),
        ("node_id", 230.0),
        ("voted_for", 310.0),
        ("lineage", 400.0),
        ("version", 480.0),
        ("incarnation", 570.0),
        ("cluster_id", 850.0),
    ];
    let mut cell = |left: f64, top: f64, colour: &str, text: &str| {
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>",
            area.x + left,
            area.y + top,
            escaped(text)
        );
    };
    for (name, left) in [("instance", 12.0)].into_iter().chain(columns) {
        cell(left, 44.0, "#57606a", &name.replace('_', " "));
    }
    for (number, (instance, row)) in rows.iter().enumerate() {
        let top = 68.0 + 22.0 * number as f64;
        cell(12.0, top, "#24292f", instance);
        for (name, left) in columns {
            cell(left, top, "#24292f", row.get(name).map_or("", String::as_str));
        }
    }
}

fn shortened(name: &str) -> String {
    let name = name.rsplit_once("Service/").map_or(name, |(_, method)| method);
    name.chars().take(34).collect()
}

fn moment(seconds: f64) -> String {
    let (ahead, seconds) = (seconds >= 0.0, seconds.abs());
    let text = if seconds >= 172_800.0 { format!("{:.0} days", seconds / 86_400.0) } else { format!("{seconds:.0} s") };
    if ahead { format!("in {text}") } else { format!("{text} ago") }
}

fn worded(value: f64, unit: Unit) -> String {
    let brief = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match unit {
        Unit::Seconds if value == 0.0 => "0 s".to_owned(),
        Unit::Seconds if value.abs() < 0.001 => format!("{} us", brief(value * 1e6)),
        Unit::Seconds if value.abs() < 1.0 => format!("{} ms", brief(value * 1e3)),
        Unit::Seconds => format!("{} s", brief(value)),
        Unit::Share => format!("{} %", brief(value * 100.0)),
        Unit::Bytes | Unit::BytesPerSecond if value.abs() >= 1e6 => format!("{} MB", brief(value / 1e6)),
        Unit::Bytes | Unit::BytesPerSecond => format!("{} kB", brief(value / 1e3)),
        Unit::PerSecond => format!("{}/s", brief(value)),
        Unit::Count | Unit::Moment if value.abs() >= 1e4 => format!("{}k", brief(value / 1e3)),
        Unit::Count | Unit::Moment => brief(value),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
