//! One picture: horizontal bars on a logarithmic scale, ours over the peer's.
//!
//! Written by hand so that it needs no font, no script and no library; colours follow the reader's
//! light or dark mode. Every number that is drawn is also written.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::wrapper::{Figure, Figures, Unit};

use super::{markdown, short};

/// Width of the picture.
const WIDTH: f64 = 760.0;
/// Where bars begin.
const LEFT: f64 = 190.0;
/// Room behind the longest bar for its number.
const RIGHT: f64 = 90.0;
/// Height of one pair of bars.
const PAIR: f64 = 62.0;
/// Room above the first pair.
const TOP: f64 = 64.0;

const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }\n\
    .title { font-weight: 600; font-size: 15px; }\n\
    .small { font-size: 11px; fill: #59636e; }\n\
    .ours { fill: #0b7a5e; }\n\
    .peer { fill: #9a5b13; }\n\
    .track { fill: #8884; }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #e6edf3; }\n\
      .small { fill: #9198a1; }\n\
      .ours { fill: #3fb98f; }\n\
      .peer { fill: #d29a4a; }\n\
    }\n";

/// One pair of bars.
struct Bar {
    /// Name of the figure.
    figure: &'static str,
    label: &'static str,
    /// Left end of the scale.
    low: f64,
    /// Right end of the scale.
    high: f64,
}

const BARS: &[Bar] = &[
    Bar { figure: "start to first line, TLS, min", label: "start, TLS, min", low: 1.0, high: 1e4 },
    Bar {
        figure: "start to first line, TLS, median",
        label: "start, TLS, median",
        low: 1.0,
        high: 1e4,
    },
    Bar { figure: "supervisor, peak RSS", label: "peak memory", low: 0.1, high: 1e3 },
    Bar { figure: "binary", label: "binary", low: 0.1, high: 1e3 },
];

/// The picture of `bench wrapper`.
pub(crate) fn wrapper(record: &Value, figures: &Figures) -> Result<String, fmt::Error> {
    let mut svg = String::new();
    draw(&mut svg, record, figures)?;
    Ok(svg)
}

fn draw(svg: &mut String, record: &Value, figures: &Figures) -> fmt::Result {
    let drawn: Vec<_> = BARS
        .iter()
        .filter_map(|bar| figures.named(bar.figure).map(|figure| (bar, figure)))
        .collect();
    let mut height = TOP + 24.0;
    height += drawn.iter().map(|_| PAIR).sum::<f64>();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">"
    )?;
    let title = "Starting an app with a secret: cloudtaser-wrapper and bao agent";
    writeln!(svg, "  <title id=\"title\">{title}</title>")?;
    writeln!(svg, "  <desc id=\"desc\">{}</desc>", escaped(&description(&drawn)))?;
    writeln!(svg, "  <style>\n{STYLE}  </style>")?;
    writeln!(svg, "  <text class=\"title\" x=\"16\" y=\"26\">{title}</text>")?;
    let note = "shorter is better; each scale is logarithmic, every tick ten times the one before";
    writeln!(svg, "  <text class=\"small\" x=\"16\" y=\"46\">{note}</text>")?;
    let mut top = TOP;
    for (bar, figure) in drawn {
        pair(svg, bar, figure, top)?;
        top += PAIR;
    }
    let place = escaped(&markdown::machine(record));
    writeln!(svg, "  <text class=\"small\" x=\"16\" y=\"{}\">{place}</text>", height - 12.0)?;
    writeln!(svg, "</svg>")
}

fn pair(svg: &mut String, bar: &Bar, figure: &Figure, top: f64) -> fmt::Result {
    let Bar { label, low, high, .. } = *bar;
    let room = WIDTH - LEFT - RIGHT;
    let length = |value: f64| {
        let share = (value / low).log10() / (high / low).log10();
        (share * room).clamp(2.0, room)
    };
    writeln!(svg, "  <text x=\"16\" y=\"{:.0}\">{label}</text>", top + 26.0)?;
    let mut tick = low;
    while tick <= high * 1.01 {
        let x = LEFT + (tick / low).log10() / (high / low).log10() * room;
        let y = top + 2.0;
        writeln!(
            svg,
            "  <rect class=\"track\" x=\"{x:.1}\" y=\"{y}\" width=\"1\" height=\"44\"/>"
        )?;
        tick *= 10.0;
    }
    for (class, value, y) in [("ours", figure.ours, 4.0), ("peer", figure.peer, 25.0)] {
        let (y, length) = (top + y, length(value));
        writeln!(
            svg,
            "  <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" \
             height=\"18\" rx=\"2\"/>"
        )?;
        let who = if class == "ours" { "wrapper" } else { "bao agent" };
        let (x, y, text) = (LEFT + length + 6.0, y + 13.0, with_unit(figure.unit, value));
        writeln!(svg, "  <text class=\"small\" x=\"{x:.1}\" y=\"{y}\">{text} {who}</text>")?;
    }
    Ok(())
}

fn description(drawn: &[(&Bar, &Figure)]) -> String {
    let sentences = drawn.iter().map(|(bar, figure)| {
        let [ours, peer] = [figure.ours, figure.peer].map(|value| with_unit(figure.unit, value));
        format!("{}: {ours} with cloudtaser-wrapper, {peer} with bao agent.", bar.label)
    });
    sentences.collect::<Vec<_>>().join(" ")
}

fn with_unit(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Count => short(value),
        Unit::Megabytes => format!("{} MB", short(value)),
        Unit::Milliseconds => format!("{} ms", short(value)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
