//! Tables of medians and of their ratios to Hornero's.

use std::fmt::Write as _;

/// Whether more or less is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Such as requests a second.
    More,
    /// Such as milliseconds.
    Less,
}

/// What is compared: one quantity, and every contestant's values of it.
pub struct Quantity {
    name: String,
    unit: &'static str,
    better: Better,
    /// Contestants in the order in which they appeared.
    values: Vec<(String, Vec<f64>)>,
}

/// A heading, remarks and quantities.
pub struct Table {
    title: String,
    remarks: Vec<String>,
    quantities: Vec<Quantity>,
}

/// The contestant that the others are compared with.
pub const HORNERO: &str = "hornero";
/// The programs of an older build; run by run they are compared with one of Hornero's.
pub const BEFORE: &str = "hornero before";

/// Two contestants, the second one first every other time.
pub fn in_turn<C>(contestants: C, run: usize) -> impl Iterator<Item = C::Item>
where
    C: IntoIterator<IntoIter: DoubleEndedIterator>,
{
    let mut contestants = contestants.into_iter();
    std::iter::from_fn(move || match run % 2 {
        0 => contestants.next(),
        _ => contestants.next_back(),
    })
}

impl Table {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), remarks: Vec::new(), quantities: Vec::new() }
    }

    /// Adds a sentence below the table.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Adds one measured value.
    pub fn add(&mut self, name: &str, unit: &'static str, better: Better, who: &str, value: f64) {
        let at = match self.quantities.iter().position(|quantity| quantity.name == name) {
            Some(at) => at,
            None => {
                let values = Vec::new();
                self.quantities.push(Quantity { name: name.to_owned(), unit, better, values });
                self.quantities.len() - 1
            }
        };
        let values = &mut self.quantities[at].values;
        eprintln!("bench: {name}: {who}: {value:.2} {unit}");
        match values.iter_mut().find(|(known, _)| known == who) {
            Some((_, values)) => values.push(value),
            None => values.push((who.to_owned(), vec![value])),
        }
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "\n### {}\n\n| what | who | median | least to most | runs | hornero is |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
            self.title
        );
        for quantity in &self.quantities {
            quantity.write_rows(&mut text);
        }
        for remark in &self.remarks {
            // Writing to a string can't fail.
            let _ = write!(text, "\n{remark}\n");
        }
        text
    }
}

impl Quantity {
    fn median(&self, who: &str) -> Option<f64> {
        let (_, values) = self.values.iter().find(|(known, _)| known == who)?;
        Some(median(values))
    }

    /// The median of what is now to what was, run by run.
    fn compare_pairs(&self, before: &[f64]) -> String {
        let now = self.values.iter().find(|(who, _)| who == HORNERO);
        let pairs = now.into_iter().flat_map(|(_, now)| now).zip(before);
        format!("{:.3} of it", median(&pairs.map(|(now, before)| now / before).collect::<Vec<_>>()))
    }

    fn write_rows(&self, text: &mut String) {
        for (who, values) in &self.values {
            let own = median(values);
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| {
                (least.min(*value), most.max(*value))
            });
            let compared = match self.median(HORNERO) {
                Some(_) if who == BEFORE => self.compare_pairs(values),
                Some(hornero) if who != HORNERO => compare(hornero, own, self.better, self.unit),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "| {} | {who} | {} {} | {} to {} | {} | {compared} |",
                self.name,
                figure(own),
                self.unit,
                figure(least),
                figure(most),
                values.len()
            );
        }
    }
}

fn compare(hornero: f64, other: f64, better: Better, unit: &str) -> String {
    let (less, more) = match unit {
        "s" | "ms" => ("faster", "slower"),
        _ => ("smaller", "larger"),
    };
    match better {
        Better::More => format!("{:.2}× as much", hornero / other),
        Better::Less if other < hornero => format!("{:.2}× {more}", hornero / other),
        Better::Less => format!("{:.2}× {less}", other / hornero),
    }
}

fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let mut table = Table::new("Title");
        for (who, values) in [(HORNERO, [3.0, 1.0, 2.0]), ("other", [20.0, 10.0, 2000.0])] {
            for value in values {
                table.add("time", "ms", Better::Less, who, value);
            }
        }
        table.add("size", "MB", Better::Less, HORNERO, 20.0);
        for (who, values) in [(HORNERO, [2.0, 30.0, 4.0]), (BEFORE, [1.0, 20.0, 4.0])] {
            for value in values {
                table.add("pairs", "ms", Better::Less, who, value);
            }
        }
        table.add("size", "MB", Better::Less, "other", 10.0);
        table.add("rate", "/s", Better::More, HORNERO, 50.0);
        table.add("rate", "/s", Better::More, "other", 100.0);
        let text = table.markdown();
        for row in [
            "| time | hornero | 2.00 ms | 1.00 to 3.00 | 3 |  |",
            "| time | other | 20.0 ms | 10.0 to 2000 | 3 | 10.00× faster |",
            "| size | other | 10.0 MB | 10.0 to 10.0 | 1 | 2.00× larger |",
            "| pairs | hornero before | 4.00 ms | 1.00 to 20.0 | 3 | 1.500 of it |",
            "| rate | other | 100.0 /s | 100.0 to 100.0 | 1 | 0.50× as much |",
        ] {
            assert!(text.contains(row), "{text}");
        }
    }
}
