//! A strict reader of Prometheus text exposition 0.0.4, stricter than a scraper is.
//!
//! It refuses what a scraper would let pass: a family without help, type or samples, one that
//! stands twice, label sets that stand twice or are not sorted, histograms that are incomplete,
//! not cumulative or not in order, a counter that is negative or not called `_total`.

use std::collections::BTreeMap;

/// A whole rendering.
#[derive(Debug, PartialEq)]
pub(crate) struct Exposition(BTreeMap<String, Family>);

#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

type Parsed<T> = Result<T, String>;

impl Exposition {
    pub(crate) fn parse(text: &str) -> Parsed<Self> {
        let body = text.strip_suffix('\n').ok_or("the last line has no end")?;
        let mut families = BTreeMap::new();
        let mut lines = body.split('\n').peekable();
        while let Some(line) = lines.next() {
            let (name, help) = line
                .strip_prefix("# HELP ")
                .and_then(|rest| rest.split_once(' '))
                .ok_or_else(|| format!("help expected: {line:?}"))?;
            let kind = lines
                .next()
                .and_then(|line| line.strip_prefix("# TYPE "))
                .and_then(|line| line.strip_prefix(name))
                .ok_or_else(|| format!("type expected: {name}"))?;
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(sample(line).map_err(|error| format!("{error}: {line:?}"))?);
            }
            let family = Family {
                help: unescape(help, false)?,
                kind: match kind {
                    " counter" => Kind::Counter,
                    " gauge" => Kind::Gauge,
                    " histogram" => Kind::Histogram,
                    _ => return Err(format!("unknown type {kind:?}")),
                },
                samples,
            };
            family
                .check(name)
                .map_err(|error| format!("{name}: {error}"))?;
            if families.insert(name.to_owned(), family).is_some() {
                return Err(format!("{name} stands twice"));
            }
        }
        Ok(Self(families))
    }

    pub(crate) fn family(&self, name: &str) -> &Family {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no family {name}"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.0.iter().map(|(name, family)| (name.as_str(), family))
    }

    /// The value of the one sample with that name and those labels, in any order.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        labels.sort();
        self.0
            .values()
            .flat_map(|family| &family.samples)
            .find(|sample| {
                let mut own = sample.labels.clone();
                own.sort();
                sample.name == name && own == labels
            })
            .map(|sample| sample.value)
    }

    /// The sum over all samples of that name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let samples = self.0.values().flat_map(|family| &family.samples);
        samples
            .filter(|sample| sample.name == name)
            .map(|sample| sample.value)
            .sum()
    }
}

impl Family {
    fn check(&self, name: &str) -> Parsed<()> {
        if !is_name(name) {
            return Err("malformed name".to_owned());
        }
        if self.samples.is_empty() {
            return Err("no samples".to_owned());
        }
        match self.kind {
            Kind::Counter => {
                if !name.ends_with("_total") {
                    return Err("counter is not called _total".to_owned());
                }
                if self
                    .samples
                    .iter()
                    .any(|sample| !(sample.value >= 0.0 && sample.value.is_finite()))
                {
                    return Err("counter is negative or not finite".to_owned());
                }
                self.check_flat(name)
            }
            Kind::Gauge => self.check_flat(name),
            Kind::Histogram => self.check_histogram(name),
        }
    }

    fn check_flat(&self, name: &str) -> Parsed<()> {
        if self.samples.iter().any(|sample| sample.name != name) {
            return Err("sample of another name".to_owned());
        }
        ascending(self.samples.iter().map(|sample| &sample.labels))
    }

    /// Per label set: buckets by ascending bound up to +Inf, then the sum, then the count.
    fn check_histogram(&self, name: &str) -> Parsed<()> {
        let mut rest = self.samples.as_slice();
        let mut seen = Vec::new();
        let mut bounds = None;
        while !rest.is_empty() {
            let buckets = rest
                .iter()
                .take_while(|sample| sample.name == format!("{name}_bucket"))
                .count();
            let (own, after) = rest.split_at(buckets);
            let [sum, count, after @ ..] = after else {
                return Err("sum or count is missing".to_owned());
            };
            if sum.name != format!("{name}_sum") || count.name != format!("{name}_count") {
                return Err(format!(
                    "sum and count expected, not {} and {}",
                    sum.name, count.name
                ));
            }
            let mut own_bounds = Vec::new();
            let mut below = 0.0;
            for bucket in own {
                let Some((("le", bound), labels)) = bucket
                    .labels
                    .split_last()
                    .map(|((name, le), labels)| ((name.as_str(), le), labels))
                else {
                    return Err("bucket without le at its end".to_owned());
                };
                if labels != sum.labels || labels != count.labels {
                    return Err("bucket, sum and count differ in labels".to_owned());
                }
                own_bounds.push(number(bound)?);
                if bucket.value < below {
                    return Err("buckets are not cumulative".to_owned());
                }
                below = bucket.value;
            }
            if own_bounds.last() != Some(&f64::INFINITY) || below != count.value {
                return Err("the last bucket is not +Inf, or not the count".to_owned());
            }
            if own_bounds
                .iter()
                .zip(own_bounds.iter().skip(1))
                .any(|(low, high)| low >= high)
            {
                return Err("bounds do not ascend".to_owned());
            }
            if bounds.get_or_insert_with(|| own_bounds.clone()) != &own_bounds {
                return Err("series with other bounds".to_owned());
            }
            seen.push(&sum.labels);
            rest = after;
        }
        ascending(seen.into_iter())
    }
}

fn ascending<'a>(labels: impl Iterator<Item = &'a Vec<(String, String)>>) -> Parsed<()> {
    let mut before = None;
    for labels in labels {
        if before.is_some_and(|before| before == labels) {
            return Err("label set stands twice".to_owned());
        }
        if before.is_some_and(|before| before > labels) {
            return Err("label sets are not sorted".to_owned());
        }
        before = Some(labels);
    }
    Ok(())
}

fn sample(line: &str) -> Parsed<Sample> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = value
        .strip_prefix(' ')
        .ok_or("one space expected before the value")?;
    if !is_name(name) {
        return Err("malformed name".to_owned());
    }
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: number(value)?,
    })
}

/// Labels and what follows their closing brace. `le` stands last, the others are sorted.
fn labels(text: &str) -> Parsed<(Vec<(String, String)>, &str)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("label without a value")?;
        let end = closing_quote(after).ok_or("label value without an end")?;
        let (value, after) = after.split_at(end);
        if !is_name(name) || name.contains(':') || name.starts_with("__") {
            return Err(format!("malformed label name {name:?}"));
        }
        if labels
            .last()
            .is_some_and(|(before, _)| before == "le" || (name != "le" && before.as_str() >= name))
        {
            return Err("labels stand twice or are not sorted".to_owned());
        }
        labels.push((name.to_owned(), unescape(value, true)?));
        match after.strip_prefix("\",") {
            Some(more) => rest = more,
            None => return Ok((labels, after.strip_prefix("\"}").ok_or("no closing brace")?)),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at)
    })
}

fn unescape(text: &str, quoted: bool) -> Parsed<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('\\', _) => match (chars.next(), quoted) {
                (Some('\\'), _) => out.push('\\'),
                (Some('n'), _) => out.push('\n'),
                (Some('"'), true) => out.push('"'),
                (other, _) => return Err(format!("unknown escape {other:?}")),
            },
            ('"', true) => return Err("quote that is not escaped".to_owned()),
            (c, _) => out.push(c),
        }
    }
    Ok(out)
}

fn number(text: &str) -> Parsed<f64> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        _ if text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e')) =>
        {
            text.parse().map_err(|_| format!("no number: {text:?}"))
        }
        _ => Err(format!("no number: {text:?}")),
    }
}

fn is_name(name: &str) -> bool {
    let head = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.starts_with(head) && name.chars().all(|c| head(c) || c.is_ascii_digit())
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\"} 1\n";
    assert!(
        Exposition::parse(good).is_ok(),
        "{:?}",
        Exposition::parse(good)
    );
    let histogram = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n\
                     h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert!(Exposition::parse(histogram).is_ok());
    for (from, to) in [
        ("\"} 1\n", "\"} 1"),
        ("\"} 1\n", "\"} 1 1700000000\n"),
        ("\"} 1\n", "\"} -1\n"),
        ("\"} 1\n", "\"}  1\n"),
        ("\"} 1\n", "\"} one\n"),
        ("\\\"", "\\t"),
        ("\\\"", ""),
        ("x=", "z="),
        ("x=", "y="),
        ("x=", "x.y="),
        ("counter", "gouge"),
        ("# HELP a_total A.\n", ""),
        ("a_total", "a"),
        ("a_total{x", "b_total{x"),
    ] {
        let text = good.replacen(from, to, if from == "a_total" { 9 } else { 1 });
        let parsed = Exposition::parse(&text);
        let harmless = from == "\\\"" && to.is_empty();
        assert_eq!(parsed.is_ok(), harmless, "{text}");
    }
    for (from, to) in [
        ("h_bucket{le=\"1\"} 1", "h_bucket{le=\"1\"} 3"),
        ("h_bucket{le=\"+Inf\"} 2\n", ""),
        ("h_count 2", "h_count 3"),
        ("h_sum 3\n", ""),
        ("le=\"1\"", "le=\"one\""),
        (
            "h_count 2\n",
            "h_count 2\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
        ),
    ] {
        let text = histogram.replacen(from, to, 1);
        assert!(Exposition::parse(&text).is_err(), "{text}");
    }
}
