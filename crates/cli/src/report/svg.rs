//! Writing SVG by hand: escaping, numbers, axes.

use std::fmt::Write as _;

/// SVG text under construction.
#[derive(Default)]
pub(super) struct Svg {
    text: String,
}

impl Svg {
    /// An image with a title and a description for those who do not see it.
    pub(super) fn open(id: &str, width: f64, height: f64, title: &str, desc: &str) -> Self {
        let mut svg = Self::default();
        svg.raw(&format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
             preserveAspectRatio=\"xMidYMid meet\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            n(width),
            n(height),
            escape(title),
            escape(desc)
        ));
        svg
    }

    pub(super) fn close(mut self) -> String {
        self.raw("</svg>");
        self.text
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn rect(&mut self, class: &str, x: f64, y: f64, w: f64, h: f64, title: &str) {
        let _ = write!(
            self.text,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            n(x),
            n(y),
            n(w),
            n(h)
        );
        self.finish("rect", title);
    }

    pub(super) fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let _ = write!(
            self.text,
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            n(x1),
            n(y1),
            n(x2),
            n(y2)
        );
    }

    pub(super) fn path(&mut self, class: &str, d: &str) {
        let _ = write!(self.text, "<path class=\"{class}\" d=\"{d}\"/>");
    }

    pub(super) fn words(&mut self, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
        let _ = write!(
            self.text,
            "<text class=\"{class}\" text-anchor=\"{}\" x=\"{}\" y=\"{}\">{}</text>",
            anchor.word(),
            n(x),
            n(y),
            escape(text)
        );
    }

    fn finish(&mut self, element: &str, title: &str) {
        if title.is_empty() {
            self.text.push_str("/>");
        } else {
            let _ = write!(self.text, "><title>{}</title></{element}>", escape(title));
        }
    }
}

/// Where a text hangs on its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A coordinate with at most two decimals.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text for an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A round step that cuts `span` into at most `most` parts, from `steps`, else 1-2-5.
pub(super) fn round_step(span: f64, most: f64, steps: &[f64]) -> f64 {
    let rough = span / most;
    if let Some(step) = steps.iter().find(|step| **step >= rough) {
        return *step;
    }
    let magnitude = 10f64.powf(rough.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|m| m * magnitude)
        .find(|s| *s >= rough)
        .unwrap_or(magnitude)
}

/// Rough width of a text, in the units of the image.
///
/// 0.56 of the size a character: the mean of the usual system fonts, on the safe side.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}
