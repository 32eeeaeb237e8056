//! One picture: horizontal bars on logarithmic scales, ours over the peer's, with our targets.
//!
//! Written by hand so that it needs no font, no script and no library; colours follow the reader's
//! light or dark mode. Every number that is drawn is also written.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::wrapper::{Figure, Figures};

use super::{limit, markdown, with_unit};

/// Width of the picture.
const WIDTH: f64 = 760.0;
/// Where bars begin.
const LEFT: f64 = 190.0;
/// Room behind the longest bar for its number.
const RIGHT: f64 = 40.0;
/// Height of one pair of bars.
const PAIR: f64 = 50.0;
/// Height of the scale below the pairs of one unit.
const SCALE: f64 = 40.0;
/// Room above the first pair.
const TOP: f64 = 76.0;
/// Width of the longest number.
const NUMBER: f64 = 66.0;
/// Room below the last scale.
const BOTTOM: f64 = 20.0;

const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }\n\
    .title { font-weight: 600; font-size: 15px; }\n\
    .small { font-size: 11px; fill: #59636e; }\n\
    .number { font-size: 12px; stroke: #fff; stroke-width: 4px; paint-order: stroke; }\n\
    .tick { text-anchor: middle; }\n\
    .back { fill: #fff; }\n\
    .ours { fill: #0b7a5e; }\n\
    .peer { fill: #9a5b13; }\n\
    .track { fill: #8883; }\n\
    .target { stroke: #b3261e; stroke-width: 2; stroke-dasharray: 4 3; }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #e6edf3; }\n\
      .small { fill: #9198a1; }\n\
      .number { stroke: #0d1117; }\n\
      .back { fill: #0d1117; }\n\
      .ours { fill: #3fb98f; }\n\
      .peer { fill: #d29a4a; }\n\
      .target { stroke: #ff8a80; }\n\
    }\n";

/// Pairs of bars over one scale.
struct Group {
    /// Left end of the scale.
    low: f64,
    /// Every tick is ten times the one before.
    ticks: &'static [&'static str],
    /// Name of each figure, and what the picture calls it.
    bars: &'static [(&'static str, &'static str)],
}

const GROUPS: &[Group] = &[
    Group {
        low: 1.0,
        ticks: &["1 ms", "10 ms", "100 ms", "1 s", "10 s"],
        bars: &[
            ("start to first line, HTTP, min", "start over HTTP, min"),
            ("start to first line, TLS, min", "start over TLS, min"),
            ("start to first line, TLS, median", "start over TLS, median"),
            ("CPU of a start, user and system, TLS, median", "CPU of a start, median"),
            ("rotation, write to app, max", "rotation, max"),
        ],
    },
    Group {
        low: 1.0,
        ticks: &["1 MB", "10 MB", "100 MB", "1000 MB"],
        bars: &[("supervisor, peak RSS", "peak memory"), ("binary", "program")],
    },
];

impl Group {
    /// Where a value stands.
    fn at(&self, value: f64) -> f64 {
        let steps = self.ticks.len().saturating_sub(1);
        let decades = f64::from(u32::try_from(steps).unwrap_or(1));
        LEFT + (value / self.low).log10() / decades * (WIDTH - LEFT - RIGHT)
    }

    /// The same, where even the smallest is to be seen and the largest stays in the picture.
    fn end(&self, value: f64) -> f64 {
        self.at(value).clamp(LEFT + 2.0, WIDTH - RIGHT)
    }

    fn drawn<'a>(&self, figures: &'a Figures) -> Vec<(&'static str, &'a Figure)> {
        let known = |&(name, label)| figures.named(name).map(|figure| (label, figure));
        self.bars.iter().filter_map(known).collect()
    }
}

/// The picture of `bench wrapper`.
pub(crate) fn wrapper(record: &Value, figures: &Figures) -> Result<String, fmt::Error> {
    let mut svg = String::new();
    draw(&mut svg, record, figures)?;
    Ok(svg)
}

fn draw(svg: &mut String, record: &Value, figures: &Figures) -> fmt::Result {
    let groups: Vec<_> = GROUPS.iter().map(|group| (group, group.drawn(figures))).collect();
    let mut height = TOP + BOTTOM;
    for (_, drawn) in &groups {
        height += SCALE + drawn.iter().map(|_| PAIR).sum::<f64>();
    }
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">"
    )?;
    let title = "Starting an app with a secret: cloudtaser-wrapper and bao agent";
    writeln!(svg, "  <title id=\"title\">{title}</title>")?;
    writeln!(svg, "  <desc id=\"desc\">{}</desc>", escaped(&description(&groups)))?;
    writeln!(svg, "  <style>\n{STYLE}  </style>")?;
    writeln!(svg, "  <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>")?;
    writeln!(svg, "  <text class=\"title\" x=\"16\" y=\"26\">{title}</text>")?;
    legend(svg)?;
    let mut top = TOP;
    for (group, drawn) in &groups {
        scale(svg, group, drawn.iter().map(|_| PAIR).sum(), top)?;
        for (label, figure) in drawn {
            pair(svg, group, label, figure, top)?;
            top += PAIR;
        }
        top += SCALE;
    }
    let place = escaped(&markdown::machine(record));
    writeln!(svg, "  <text class=\"small\" x=\"16\" y=\"{}\">{place}</text>", height - 12.0)?;
    writeln!(svg, "</svg>")
}

fn legend(svg: &mut String) -> fmt::Result {
    for (class, name, x) in
        [("ours", "cloudtaser-wrapper", 16.0), ("peer", "bao agent, exec mode", 160.0)]
    {
        writeln!(
            svg,
            "  <rect class=\"{class}\" x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\"/>"
        )?;
        writeln!(svg, "  <text class=\"small\" x=\"{}\" y=\"52\">{name}</text>", x + 18.0)?;
    }
    writeln!(svg, "  <path class=\"target\" d=\"M324 40v16\"/>")?;
    writeln!(svg, "  <text class=\"small\" x=\"334\" y=\"52\">our target</text>")?;
    let note = "shorter is better; logarithmic scales";
    let x = WIDTH - 16.0;
    writeln!(svg, "  <text class=\"small\" x=\"{x}\" y=\"52\" text-anchor=\"end\">{note}</text>")
}

/// Lines behind the bars of a group, and what they stand for below them.
fn scale(svg: &mut String, group: &Group, height: f64, top: f64) -> fmt::Result {
    let mut value = group.low;
    for tick in group.ticks {
        let x = group.at(value);
        writeln!(
            svg,
            "  <rect class=\"track\" x=\"{x:.1}\" y=\"{top}\" width=\"1\" height=\"{height}\"/>"
        )?;
        let y = top + height + 14.0;
        writeln!(svg, "  <text class=\"small tick\" x=\"{x:.1}\" y=\"{y}\">{tick}</text>")?;
        value *= 10.0;
    }
    Ok(())
}

fn pair(svg: &mut String, group: &Group, label: &str, figure: &Figure, top: f64) -> fmt::Result {
    writeln!(svg, "  <text x=\"16\" y=\"{}\">{label}</text>", top + 20.0)?;
    for (class, value, y) in [("ours", figure.ours, 4.0), ("peer", figure.peer, 24.0)] {
        let (y, end) = (top + y, group.end(value));
        let length = end - LEFT;
        writeln!(
            svg,
            "  <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" \
             height=\"18\" rx=\"2\"/>"
        )?;
    }
    if let Some(target) = figure.target {
        let (x, y) = (group.end(target), top + 1.0);
        writeln!(svg, "  <path class=\"target\" d=\"M{x:.1} {y}v24\"/>")?;
        let (y, target) = (top + 36.0, limit(figure.unit, target));
        writeln!(svg, "  <text class=\"small\" x=\"16\" y=\"{y}\">target {target}</text>")?;
    }
    let target = figure.target.map_or(f64::NAN, |target| group.end(target));
    let ours = group.end(figure.ours);
    // A target that would run through the number stands before it.
    let ours = if (ours..ours + NUMBER).contains(&target) { target } else { ours };
    let [ours, peer] = [(figure.ours, ours, 17.0), (figure.peer, group.end(figure.peer), 37.0)];
    for (value, x, y) in [ours, peer] {
        let (x, y) = (x + 7.0, top + y);
        let text = with_unit(figure.unit, value);
        writeln!(svg, "  <text class=\"number\" x=\"{x:.1}\" y=\"{y}\">{text}</text>")?;
    }
    Ok(())
}

fn description(groups: &[(&Group, Vec<(&'static str, &Figure)>)]) -> String {
    let drawn = groups.iter().flat_map(|(_, drawn)| drawn);
    let sentences = drawn.map(|(label, figure)| {
        let [ours, peer] = [figure.ours, figure.peer].map(|value| with_unit(figure.unit, value));
        format!("{label}: {ours} with cloudtaser-wrapper, {peer} with bao agent.")
    });
    sentences.collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
