//! Prometheus text exposition format 0.0.4.
//!
//! Every label set stands once and in one order, so that two renderings of the same numbers are
//! the same text.

use std::fmt::Write as _;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};

/// The media type of what [`Metrics::render`](crate::Metrics::render) gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends every metric of `collected`, sorted by name, to `out`.
pub(crate) fn render(collected: &ResourceMetrics, out: &mut String) {
    let mut families: Vec<_> = collected
        .scope_metrics()
        .flat_map(|scope| scope.metrics())
        .collect();
    families.sort_by(|left, right| left.name().cmp(right.name()));
    for metric in families {
        let (name, help) = (metric.name(), metric.description());
        match metric.data() {
            AggregatedMetrics::F64(data) => family(out, name, help, data),
            AggregatedMetrics::U64(data) => family(out, name, help, data),
            AggregatedMetrics::I64(data) => family(out, name, help, data),
        }
    }
}

/// A number of the SDK, as the format writes it.
trait Number: Copy {
    fn text(self) -> String;
}

impl Number for f64 {
    fn text(self) -> String {
        if self.is_nan() {
            "NaN".to_owned()
        } else if self.is_infinite() {
            if self > 0.0 {
                "+Inf".to_owned()
            } else {
                "-Inf".to_owned()
            }
        } else {
            format!("{self}")
        }
    }
}

impl Number for u64 {
    fn text(self) -> String {
        self.to_string()
    }
}

impl Number for i64 {
    fn text(self) -> String {
        self.to_string()
    }
}

fn family<T: Number>(out: &mut String, name: &str, help: &str, data: &MetricData<T>) {
    match data {
        MetricData::Gauge(gauge) => {
            header(out, name, help, "gauge");
            let points = gauge.data_points();
            samples(
                out,
                name,
                points.map(|point| (labels(point.attributes()), point.value().text())),
            );
        }
        MetricData::Sum(sum) => {
            let (name, kind) = if sum.is_monotonic() {
                (format!("{name}_total"), "counter")
            } else {
                (name.to_owned(), "gauge")
            };
            header(out, &name, help, kind);
            let points = sum.data_points();
            samples(
                out,
                &name,
                points.map(|point| (labels(point.attributes()), point.value().text())),
            );
        }
        MetricData::Histogram(histogram) => {
            header(out, name, help, "histogram");
            let mut series: Vec<_> = histogram
                .data_points()
                .map(|point| {
                    let mut text = String::new();
                    let own = labels(point.attributes());
                    let bounds = point.bounds().map(Number::text).chain(["+Inf".to_owned()]);
                    let mut below = 0_u64;
                    for (bound, count) in bounds.zip(point.bucket_counts()) {
                        below = below.saturating_add(count);
                        let le = joined(&own, &format!("le=\"{bound}\""));
                        let _infallible = writeln!(text, "{name}_bucket{{{le}}} {below}");
                    }
                    let braces = braced(&own);
                    let _infallible = writeln!(text, "{name}_sum{braces} {}", point.sum().text());
                    let _infallible = writeln!(text, "{name}_count{braces} {}", point.count());
                    (own, text)
                })
                .collect();
            series.sort();
            out.extend(series.into_iter().map(|(_, text)| text));
        }
        // No view of ours asks for exponential buckets.
        MetricData::ExponentialHistogram(_) => {}
    }
}

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn samples(out: &mut String, name: &str, points: impl Iterator<Item = (String, String)>) {
    let mut points: Vec<_> = points.collect();
    points.sort();
    for (labels, value) in points {
        let _infallible = writeln!(out, "{name}{} {value}", braced(&labels));
    }
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut pairs: Vec<String> = attributes
        .map(|pair| {
            let value = pair.value.as_str();
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            // The SDK marks what is beyond its limits with a name that has dots.
            let name = pair.key.as_str().replace('.', "_");
            format!("{name}=\"{value}\"")
        })
        .collect();
    pairs.sort();
    pairs.join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

fn joined(labels: &str, more: &str) -> String {
    if labels.is_empty() {
        more.to_owned()
    } else {
        format!("{labels},{more}")
    }
}
