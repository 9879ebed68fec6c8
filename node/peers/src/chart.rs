//! Bars side by side as SVG, legible on light and dark pages: the line in each bar goes from its least to its most.

use std::fmt::Write;

pub struct Bar {
    pub least: f64,
    pub middle: f64,
    pub most: f64,
}

pub struct Group {
    pub name: String,
    pub bars: Vec<Bar>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 40.0;
/// Lines across, beside the one at the bottom.
const LINES: u32 = 4;
/// Apart for people who see fewer colours, and on both grounds.
const COLOURS: [&str; 3] = ["#8a8f98", "#4c8fd6", "#e08a2e"];

pub fn draw(title: &str, names: &[&str], groups: &[Group]) -> String {
    let most = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.most).fold(1.0, f64::max);
    let top = round_up(most);
    let (height, width) = (HEIGHT - TOP - BOTTOM, WIDTH - LEFT - 16.0);
    let y = |value: f64| TOP + height * (1.0 - value / top);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<title>{title}</title>\n<style>text {{ fill: #24292f \
         }} .line {{ stroke: #8888; stroke-width: 1 }} .reach {{ stroke: #24292f; stroke-width: 1.5 }} @media \
         (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .reach {{ stroke: #e6edf3 }} }}</style>\n\
         <text x=\"{LEFT}\" y=\"22\" font-weight=\"600\">{title}</text>\n"
    );
    for (number, (name, colour)) in names.iter().zip(COLOURS).enumerate() {
        let x = LEFT + 120.0 * number as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" \
             y=\"45\">{name}</text>",
            x + 18.0
        );
    }
    for line in 0..=LINES {
        let value = top * f64::from(line) / f64::from(LINES);
        let _ = writeln!(
            svg,
            "<line class=\"line\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{:.1}\" y2=\"{:.1}\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{value:.0}</text>",
            LEFT + width,
            y(value),
            y(value),
            LEFT - 8.0,
            y(value) + 4.0
        );
    }
    let group_width = width / groups.len().max(1) as f64;
    let bar_width = group_width * 0.7 / names.len().max(1) as f64;
    for (number, group) in groups.iter().enumerate() {
        let from = LEFT + group_width * (number as f64 + 0.15);
        for (number, (bar, colour)) in group.bars.iter().zip(COLOURS).enumerate() {
            let x = from + bar_width * number as f64;
            let centre = x + bar_width / 2.0 - 1.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/><line \
                 class=\"reach\" x1=\"{centre:.1}\" x2=\"{centre:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                y(bar.middle),
                bar_width - 2.0,
                y(0.0) - y(bar.middle),
                y(bar.least),
                y(bar.most)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            LEFT + group_width * (number as f64 + 0.5),
            HEIGHT - 14.0,
            group.name
        );
    }
    svg + "</svg>\n"
}

/// To a number that divides well by the lines.
fn round_up(value: f64) -> f64 {
    let magnitude = 10.0_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let fits = steps.into_iter().map(|step| step * magnitude).find(|round| *round >= value);
    fits.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_above_the_highest_bar() {
        assert_eq!([1.0, 8_300.0, 12_700.0, 41_000.0].map(round_up), [1.0, 10_000.0, 20_000.0, 60_000.0]);
    }
}
