//! Prometheus text exposition format 0.0.4, written by hand. Every name gets the product's prefix.

use std::fmt::Write as _;

const PREFIX: &str = "dynamic_mcp_";

/// A histogram at one moment.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// Upper bound in seconds, and how many were at or below it.
    pub cumulative: Vec<(f64, u64)>,
    /// All.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum: f64,
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Starts a metric that only grows; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    /// Starts a metric that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    /// Starts a histogram.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "histogram")
    }

    /// Starts a summary: how many, and their sum.
    pub fn summary(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "summary")
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        let _ = writeln!(self.text, "# HELP {PREFIX}{name} {help}");
        let _ = writeln!(self.text, "# TYPE {PREFIX}{name} {kind}");
        Family {
            text: &mut self.text,
            name,
        }
    }
}

impl Family<'_> {
    /// One value.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// One summary, without quantiles.
    pub fn summary_sample(&mut self, count: u64, sum: f64) {
        self.line("_sum", &[], None, sum);
        self.line("_count", &[], None, count as f64);
    }

    /// One histogram.
    pub fn histogram_sample(&mut self, labels: &[(&str, &str)], sample: &HistogramSample) {
        for (bound, count) in &sample.cumulative {
            self.line("_bucket", labels, Some(&bound.to_string()), *count as f64);
        }
        self.line("_bucket", labels, Some("+Inf"), sample.count as f64);
        self.line("_sum", labels, None, sample.sum);
        self.line("_count", labels, None, sample.count as f64);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], le: Option<&str>, value: f64) {
        let _ = write!(self.text, "{PREFIX}{}{suffix}", self.name);
        let all = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
        for (index, (label, text)) in all.enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escape(text));
        }
        let close = if labels.is_empty() && le.is_none() {
            ""
        } else {
            "}"
        };
        let _ = writeln!(self.text, "{close} {value}");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_each_kind() {
        let mut text = Exposition::default();
        text.gauge("up", "Help.").sample(&[], 1.0);
        text.counter("x_total", "Help.")
            .sample(&[("a", "q\"\\\n"), ("b", "2")], 3.0);
        let sample = HistogramSample {
            cumulative: vec![(0.5, 1)],
            count: 2,
            sum: 1.25,
        };
        text.histogram("d_seconds", "Help.")
            .histogram_sample(&[("p", "run")], &sample);
        text.summary("s_seconds", "Help.").summary_sample(3, 0.5);
        let expected = r#"# HELP dynamic_mcp_up Help.
# TYPE dynamic_mcp_up gauge
dynamic_mcp_up 1
# HELP dynamic_mcp_x_total Help.
# TYPE dynamic_mcp_x_total counter
dynamic_mcp_x_total{a="q\"\\\n",b="2"} 3
# HELP dynamic_mcp_d_seconds Help.
# TYPE dynamic_mcp_d_seconds histogram
dynamic_mcp_d_seconds_bucket{p="run",le="0.5"} 1
dynamic_mcp_d_seconds_bucket{p="run",le="+Inf"} 2
dynamic_mcp_d_seconds_sum{p="run"} 1.25
dynamic_mcp_d_seconds_count{p="run"} 2
# HELP dynamic_mcp_s_seconds Help.
# TYPE dynamic_mcp_s_seconds summary
dynamic_mcp_s_seconds_sum 0.5
dynamic_mcp_s_seconds_count 3
"#;
        assert_eq!(text.finish(), expected);
    }
}
