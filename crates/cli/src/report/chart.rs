//! The curve of acknowledged writes: the whole run, and the moment that stalled it.
//!
//! The overview shows for every column of the image the least, the mean and the most of its
//! buckets, so that a single empty bucket still reaches the ground. The zoom shows each bucket as a bar.

use std::fmt::Write as _;

use ferriswheel_probe::certificate::Limits;
use ferriswheel_probe::timeline::{GapSpan, Timeline, decode};

use super::svg::{Anchor, Svg, n, round_step, text_width};
use super::words::{clock, lasting, signed, signed_ms};

const WIDTH: f64 = 1120.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;

/// Gaps shorter than this are the usual breathing of writers and are not marked.
const WORTH_MARKING_MS: f64 = 50.0;

/// A moment on the curve, in milliseconds since the anchor.
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) at_ms: f64,
}

/// A step on the strip below the curve.
pub(super) struct Span {
    pub(super) number: u32,
    pub(super) title: String,
    pub(super) class: &'static str,
    pub(super) from_ms: f64,
    pub(super) to_ms: f64,
}

/// The decoded curve.
pub(super) struct Curve<'a> {
    counted: &'static str,
    pub(super) timeline: &'a Timeline,
    pub(super) limits: Limits,
    acks: Vec<u32>,
    errors: Vec<u32>,
    bucket: f64,
}

/// Ticks of a clock, in milliseconds.
const CLOCK: [f64; 15] = [
    1_000.0,
    2_000.0,
    5_000.0,
    10_000.0,
    15_000.0,
    20_000.0,
    30_000.0,
    60_000.0,
    120_000.0,
    300_000.0,
    600_000.0,
    900_000.0,
    1_800_000.0,
    3_600_000.0,
    7_200_000.0,
];

impl<'a> Curve<'a> {
    /// `counted` is what the curve counts: acknowledged writes, or answered requests.
    pub(super) fn of(timeline: &'a Timeline, limits: Limits, counted: &'static str) -> Self {
        Self {
            timeline,
            counted,
            limits,
            acks: decode(&timeline.acks).collect(),
            errors: decode(&timeline.errors).collect(),
            bucket: timeline.bucket_ms.max(1) as f64,
        }
    }

    /// The longest gap, if anything was acknowledged.
    pub(super) fn longest(&self) -> Option<&GapSpan> {
        self.timeline.gaps.first()
    }

    fn end_ms(&self) -> f64 {
        self.timeline
            .stop_ms
            .max(self.acks.len() as f64 * self.bucket)
            .max(1.0)
    }

    fn gap_class(&self, gap: &GapSpan) -> &'static str {
        if gap.to_ms - gap.from_ms > self.limits.write_stall_ms as f64 {
            "gap over"
        } else {
            "gap"
        }
    }

    /// The whole run with the steps below it.
    pub(super) fn overview(&self, spans: &[Span]) -> String {
        let (top, plot) = (26.0, 150.0);
        let rows = if spans.is_empty() {
            0
        } else {
            1 + label_rows(spans, self.end_ms())
        };
        let strip = top + plot + 26.0;
        let height = strip
            + if rows == 0 {
                0.0
            } else {
                20.0 + rows as f64 * 15.0
            };
        let end = self.end_ms();
        let x = |ms: f64| LEFT + ms / end * (WIDTH - LEFT - RIGHT);
        let peak = f64::from(self.acks.iter().copied().max().unwrap_or(0)).max(1.0);
        let y = |count: f64| top + plot - (count / peak).min(1.0) * plot;

        let total: u64 = self.acks.iter().copied().map(u64::from).sum();
        let desc = format!(
            "{total} {}s over {}; {}",
            self.counted,
            clock(end),
            self.longest().map_or_else(
                || "nothing was acknowledged".to_owned(),
                |gap| format!(
                    "the longest interval without one lasted {:.0} ms and began at {}",
                    gap.to_ms - gap.from_ms,
                    clock(gap.from_ms)
                )
            )
        );
        let mut svg = Svg::open(
            "overview",
            WIDTH,
            height,
            "Acknowledged writes over the whole run",
            &desc,
        );
        self.axes(&mut svg, top, plot, peak);
        let step = round_step(end, 12.0, &CLOCK);
        let mut at = 0.0;
        while at <= end {
            svg.line("grid", x(at), top, x(at), top + plot);
            svg.words("tick", Anchor::Middle, x(at), top + plot + 15.0, &clock(at));
            at += step;
        }
        self.gap_marks(&mut svg, &x, top, plot);
        self.area(&mut svg, &x, &y, end);
        self.error_marks(&mut svg, &x, top, plot, end);
        if let Some(gap) = self.longest() {
            let (from, to) = (x(gap.from_ms), x(gap.to_ms));
            let text = format!("{:.0} ms", gap.to_ms - gap.from_ms);
            let middle = f64::midpoint(from, to);
            let half = text_width(&text, 12.0) / 2.0 + 6.0;
            let at = middle.clamp(LEFT + half, WIDTH - RIGHT - half);
            svg.rect("flag", at - half, 4.0, half * 2.0, 17.0, "");
            svg.words("flagtext", Anchor::Middle, at, 16.5, &text);
            svg.line("flagline", middle, 21.0, middle, top + plot);
        }
        strip_of(&mut svg, spans, &x, strip, end);
        svg.close()
    }

    fn axes(&self, svg: &mut Svg, top: f64, plot: f64, peak: f64) {
        let step = round_step(peak, 4.0, &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        let mut value = 0.0;
        while value <= peak {
            let y = top + plot - value / peak * plot;
            let class = if value == 0.0 { "base" } else { "grid" };
            svg.line(class, LEFT, y, WIDTH - RIGHT, y);
            svg.words("tick", Anchor::End, LEFT - 6.0, y + 4.0, &n(value));
            value += step;
        }
    }

    fn gap_marks(&self, svg: &mut Svg, x: &impl Fn(f64) -> f64, top: f64, plot: f64) {
        for gap in &self.timeline.gaps {
            let length = gap.to_ms - gap.from_ms;
            if length >= WORTH_MARKING_MS {
                let (from, to) = (x(gap.from_ms), x(gap.to_ms));
                let width = (to - from).max(2.0);
                let title = format!(
                    "{length:.0} ms without an {}, from {}",
                    self.counted,
                    clock(gap.from_ms)
                );
                let left = f64::midpoint(from, to) - width / 2.0;
                svg.rect(self.gap_class(gap), left, top, width, plot, &title);
            }
        }
    }

    /// Per column of two units: filled up to the least, pale up to the most, the mean as a line.
    fn area(&self, svg: &mut Svg, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64, end: f64) {
        let last = (self.timeline.stop_ms / self.bucket).floor().max(0.0);
        // The bucket in which the run stopped is only partly lived.
        let lived = self
            .acks
            .get(..(last as usize).min(self.acks.len()))
            .unwrap_or_default();
        if lived.is_empty() {
            return;
        }
        let columns = (end / self.bucket).clamp(1.0, (WIDTH - LEFT - RIGHT) / 2.0);
        let width = ((end / self.bucket) / columns).ceil().max(1.0) as usize;
        let (mut upper, mut mean) = (String::new(), String::new());
        let mut floor = format!("M{} {}", n(x(0.0)), n(y(0.0)));
        let mut lows = Vec::new();
        for (i, column) in lived.chunks(width).enumerate() {
            let from = i as f64 * width as f64 * self.bucket;
            let at = x(from + column.len() as f64 * self.bucket / 2.0);
            let sum: u64 = column.iter().copied().map(u64::from).sum();
            let max = column.iter().copied().max().unwrap_or(0);
            let min = column.iter().copied().min().unwrap_or(0);
            let verb = if i == 0 { 'M' } else { 'L' };
            let _ = write!(upper, "{verb}{} {}", n(at), n(y(f64::from(max))));
            let _ = write!(
                mean,
                "{verb}{} {}",
                n(at),
                n(y(sum as f64 / column.len() as f64))
            );
            let _ = write!(floor, "L{} {}", n(at), n(y(f64::from(min))));
            lows.push((at, y(f64::from(min))));
        }
        for (at, low) in lows.iter().rev() {
            let _ = write!(upper, "L{} {}", n(*at), n(*low));
        }
        let _ = write!(
            floor,
            "L{} {}Z",
            n(x(lived.len() as f64 * self.bucket)),
            n(y(0.0))
        );
        svg.path("range", &format!("{upper}Z"));
        svg.path("floor", &floor);
        svg.path("mean", &mean);
    }

    fn error_marks(&self, svg: &mut Svg, x: &impl Fn(f64) -> f64, top: f64, plot: f64, end: f64) {
        // One mark a column, or a run of thousands of errors would be thousands of elements.
        let column = (end / (WIDTH - LEFT - RIGHT) * 3.0 / self.bucket)
            .ceil()
            .max(1.0) as usize;
        for (i, cells) in self.errors.chunks(column).enumerate() {
            let count: u64 = cells.iter().copied().map(u64::from).sum();
            if count > 0 {
                let at = i as f64 * column as f64 * self.bucket;
                let title = format!("{count} errors at {}", clock(at));
                svg.rect("error", x(at) - 1.0, top + plot - 7.0, 3.0, 7.0, &title);
            }
        }
    }

    /// Each bucket around the longest gap, with the moments of the hand-over. `focus` widens the
    /// window to a period of interest, if it is not too long to see single buckets in.
    pub(super) fn zoom(&self, flags: &[Flag], focus: Option<(f64, f64)>) -> Option<String> {
        let gap = self.longest()?;
        let (from, to) = self.window(gap, focus);
        let zero = gap.from_ms;
        let inside: Vec<&Flag> = flags
            .iter()
            .filter(|f| f.at_ms >= from && f.at_ms <= to)
            .collect();
        let x = |ms: f64| LEFT + (ms - from) / (to - from) * (WIDTH - LEFT - RIGHT);
        let placed = place_flags(&inside, &x);
        let rows = placed.iter().map(|(_, row, _)| row + 1).max().unwrap_or(0);
        let (top, plot) = (34.0 + rows as f64 * 18.0, 150.0);
        let height = top + plot + 38.0;
        let first = (from / self.bucket).floor().max(0.0) as usize;
        let last = ((to / self.bucket).ceil() as usize).min(self.acks.len());
        let bars = self.acks.get(first..last).unwrap_or_default();
        let peak = f64::from(bars.iter().copied().max().unwrap_or(0)).max(1.0);
        let y = |count: f64| top + plot - count / peak * plot;
        let length = gap.to_ms - gap.from_ms;
        let desc = format!(
            "{length:.1} ms without an {}; {}",
            self.counted,
            inside
                .iter()
                .map(|f| format!("{} at {:+.0} ms", f.name, f.at_ms - zero))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let mut svg = Svg::open(
            "zoom",
            WIDTH,
            height,
            "Acknowledged writes around the longest gap",
            &desc,
        );
        self.axes(&mut svg, top, plot, peak);
        let step = round_step(
            to - from,
            14.0,
            &[10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0],
        );
        let mut at = ((from - zero) / step).ceil() * step;
        while at <= to - zero {
            svg.line("grid", x(zero + at), top, x(zero + at), top + plot);
            let text = signed(at);
            let half = text_width(&text, 11.0) / 2.0;
            if x(zero + at) + half <= WIDTH {
                svg.words(
                    "tick",
                    Anchor::Middle,
                    x(zero + at),
                    top + plot + 15.0,
                    &text,
                );
            }
            at += step;
        }
        let (a, b) = (x(gap.from_ms), x(gap.to_ms));
        svg.rect(self.gap_class(gap), a, top, (b - a).max(1.0), plot, "");
        self.bars(&mut svg, first, bars, &x, &y, (from, to));
        self.dimension(&mut svg, a, b, top - 10.0, length);
        for (flag, row, right) in placed {
            let line = x(flag.at_ms);
            let level = 14.0 + row as f64 * 18.0;
            svg.line("moment", line, level - 9.0, line, top + plot);
            let (anchor, dx) = if right {
                (Anchor::Start, 4.0)
            } else {
                (Anchor::End, -4.0)
            };
            svg.words(
                "momenttext",
                anchor,
                line + dx,
                level,
                &flag_text(flag, zero),
            );
        }
        svg.words(
            "axis",
            Anchor::End,
            WIDTH - RIGHT,
            top + plot + 33.0,
            "milliseconds since the last acknowledgement before the pause",
        );
        Some(svg.close())
    }

    fn window(&self, gap: &GapSpan, focus: Option<(f64, f64)>) -> (f64, f64) {
        let length = gap.to_ms - gap.from_ms;
        // At least half a second of normal writing on each side, at most 400 buckets in all.
        let margin = (length * 1.5).clamp(400.0, 20_000.0);
        let (mut from, mut to) = (gap.from_ms - margin, gap.to_ms + margin);
        if let Some((a, b)) = focus
            && a <= gap.from_ms
            && b >= gap.to_ms
            && b - a <= 400.0 * self.bucket
        {
            (from, to) = (from.min(a - 50.0), to.max(b + 50.0));
        }
        (from.max(0.0), to.min(self.end_ms()).max(gap.to_ms))
    }

    fn bars(
        &self,
        svg: &mut Svg,
        first: usize,
        bars: &[u32],
        x: &impl Fn(f64) -> f64,
        y: &impl Fn(f64) -> f64,
        (from, to): (f64, f64),
    ) {
        for (i, count) in bars.iter().enumerate() {
            let start = (first + i) as f64 * self.bucket;
            let (a, b) = (x(start.max(from)), x((start + self.bucket).min(to)));
            let space = if b - a > 4.0 { 1.0 } else { 0.0 };
            if *count > 0 {
                let top = y(f64::from(*count));
                let title = format!("{count} at {}", clock(start));
                svg.rect(
                    "bar",
                    a,
                    top,
                    (b - a - space).max(0.5),
                    y(0.0) - top,
                    &title,
                );
            }
            if let Some(errors) = self.errors.get(first + i).filter(|e| **e > 0) {
                let title = format!("{errors} errors at {}", clock(start));
                svg.rect(
                    "error",
                    a,
                    y(0.0) - 7.0,
                    (b - a - space).max(1.5),
                    7.0,
                    &title,
                );
            }
        }
    }

    /// The measure over the gap, as on a drawing.
    fn dimension(&self, svg: &mut Svg, a: f64, b: f64, y: f64, length: f64) {
        svg.line("dim", a, y, b, y);
        svg.line("dim", a, y - 5.0, a, y + 5.0);
        svg.line("dim", b, y - 5.0, b, y + 5.0);
        let text = format!("{length:.1} ms without an {}", self.counted);
        let wide = text_width(&text, 12.0);
        if b + 8.0 + wide <= WIDTH - RIGHT {
            svg.words("dimtext", Anchor::Start, b + 8.0, y + 4.0, &text);
        } else {
            svg.words("dimtext", Anchor::End, a - 8.0, y + 4.0, &text);
        }
    }
}

/// Steps as bars, with their numbers; numbers that would touch move to another row.
fn strip_of(svg: &mut Svg, spans: &[Span], x: &impl Fn(f64) -> f64, y: f64, end: f64) {
    let rows = place_numbers(spans, end);
    for (span, row) in spans.iter().zip(rows) {
        let (from, to) = (x(span.from_ms.max(0.0)), x(span.to_ms.min(end)));
        let width = (to - from).max(3.0);
        let title = format!(
            "{}. {} ({}, {})",
            span.number,
            span.title,
            clock(span.from_ms),
            lasting(span.to_ms - span.from_ms)
        );
        svg.rect(
            &format!("step {}", span.class),
            from,
            y,
            width - 1.0,
            12.0,
            &title,
        );
        let middle = from + (width - 1.0) / 2.0;
        let level = y + 26.0 + row as f64 * 15.0;
        if row > 0 {
            svg.line("lead", middle, y + 13.0, middle, level - 10.0);
        }
        svg.words(
            "number",
            Anchor::Middle,
            middle,
            level,
            &span.number.to_string(),
        );
    }
}

fn label_rows(spans: &[Span], end: f64) -> usize {
    place_numbers(spans, end)
        .into_iter()
        .map(|row| row + 1)
        .max()
        .unwrap_or(0)
}

fn place_numbers(spans: &[Span], end: f64) -> Vec<usize> {
    let x = |ms: f64| LEFT + ms / end * (WIDTH - LEFT - RIGHT);
    let mut ends: Vec<f64> = Vec::new();
    spans
        .iter()
        .map(|span| {
            let (from, to) = (x(span.from_ms.max(0.0)), x(span.to_ms.min(end)));
            let middle = from + ((to - from).max(3.0) - 1.0) / 2.0;
            let half = text_width(&span.number.to_string(), 11.0) / 2.0 + 2.0;
            let row = ends
                .iter()
                .position(|e| *e <= middle - half)
                .unwrap_or(ends.len());
            if row == ends.len() {
                ends.push(0.0);
            }
            ends[row] = middle + half;
            row
        })
        .collect()
}

/// Each flag with a row, and the side on which its text hangs.
///
/// From the left to the right, so that texts run over the lines of later flags only in rows above
/// them: a row is free when neither it nor any row below it still carries text at this place.
fn place_flags<'f>(flags: &[&'f Flag], x: &impl Fn(f64) -> f64) -> Vec<(&'f Flag, usize, bool)> {
    let mut sorted = flags.to_vec();
    sorted.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    let mut ends: Vec<f64> = Vec::new();
    sorted
        .into_iter()
        .map(|flag| {
            let line = x(flag.at_ms);
            // The offset is written behind the name: ten more characters at most.
            let wide = text_width(&flag.name, 11.0) + text_width(" +00000 ms", 11.0) + 8.0;
            let right = line + wide <= WIDTH - RIGHT;
            let start = if right { line - 3.0 } else { line - wide };
            let row = (0..ends.len())
                .find(|row| ends.iter().skip(*row).all(|end| *end <= start))
                .unwrap_or(ends.len());
            ends.resize(ends.len().max(row + 1), 0.0);
            ends[row] = if right { line + wide } else { line + 3.0 };
            (flag, row, right)
        })
        .collect()
}

fn flag_text(flag: &Flag, zero: f64) -> String {
    format!("{} {}", flag.name, signed_ms(flag.at_ms - zero))
}
