//! Prometheus' text format: families of samples with escaped labels.

use std::fmt::{Display, Write as _};

/// Text that is exposed.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

/// What a family's values mean.
#[derive(Debug, Clone, Copy)]
pub enum FamilyKind {
    /// What grows from a beginning.
    Counter,
    /// What is so now.
    Gauge,
    /// Counts by how large what was seen is.
    Histogram,
}

/// A label's name and value.
pub type Label<'l> = (&'l str, &'l str);

impl Exposition {
    /// Begins a family; all of its samples follow.
    pub fn family(&mut self, name: &'static str, kind: FamilyKind, help: &str) -> &mut Self {
        let kind = match kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.name = name;
        self
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.line("", labels, value)
    }

    /// The same of a histogram's parts, such as `_bucket`.
    pub fn line(&mut self, part: &str, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(part);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            value.chars().for_each(|letter| match letter {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                letter => self.text.push(letter),
            });
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Microseconds as seconds.
#[allow(clippy::cast_precision_loss)] // A microsecond in nine years.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        let labels = [("service", "site"), ("owner", "a \"b\"\\\n{c}")];
        text.family("hornero_x", FamilyKind::Gauge, "What it is.").sample(&labels, 1.5);
        text.sample(&[], seconds(1_500));
        assert_eq!(
            text.into_text(),
            "# HELP hornero_x What it is.\n# TYPE hornero_x gauge\n\
             hornero_x{service=\"site\",owner=\"a \\\"b\\\"\\\\\\n{c}\"} 1.5\nhornero_x 0.0015\n"
        );
    }
}
