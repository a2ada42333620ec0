//! Rows, the table that people read and the report that machines read.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// What a row is to be compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// Holds up to this value.
    AtMost(f64),
    /// Holds from this value on.
    AtLeast(f64),
    /// Holds at this value only.
    Exactly(f64),
    /// For information; a lower value is better. Always holds.
    Lower,
    /// For information; a higher value is better. Always holds.
    Higher,
}

/// One figure.
#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    target: Target,
}

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    only: Option<String>,
    rows: Vec<Figure>,
}

impl Report {
    /// An empty report that wants rows whose names begin with `only`, or all of them.
    pub(crate) const fn new(only: Option<String>) -> Self {
        Self {
            only,
            rows: Vec::new(),
        }
    }

    /// Whether any row whose name begins with `prefix` is wanted: ask before measuring.
    pub(crate) fn wants(&self, prefix: &str) -> bool {
        self.only
            .as_deref()
            .is_none_or(|only| prefix.starts_with(only) || only.starts_with(prefix))
    }

    /// Adds a row, if its name is wanted. A value that is no number holds nothing.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) {
        let row = Figure {
            name: name.into(),
            value,
            unit,
            target,
        };
        if self
            .only
            .as_deref()
            .is_none_or(|only| row.name.starts_with(only))
        {
            self.rows.push(row);
        }
    }

    /// Whether no row was measured.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether every row meets its target.
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(Figure::holds)
    }

    /// The rows for people.
    pub(crate) fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0);
        let mut table = String::new();
        for row in &self.rows {
            let (name, value, unit) = (&row.name, figure(row.value), row.unit);
            let target = match row.target {
                Target::AtMost(limit) => format!("≤ {limit}"),
                Target::AtLeast(limit) => format!("≥ {limit}"),
                Target::Exactly(value) => format!("= {value}"),
                Target::Lower | Target::Higher => String::new(),
            };
            let mark = if row.holds() { "" } else { "MISSED" };
            let line = format!("{name:width$}  {value:>10} {unit:<8} {target:<8} {mark}");
            let _infallible = writeln!(table, "{}", line.trim_end());
        }
        table
    }

    /// Writes the rows for machines: a list of `{"name", "value", "unit", "better", "target",
    /// "holds"}`; `target` is null for a row without one.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let rows: Vec<Value> = self.rows.iter().map(Figure::json).collect();
        fs::write(path, format!("{:#}\n", Value::from(rows)))?;
        Ok(())
    }
}

impl Figure {
    fn holds(&self) -> bool {
        match self.target {
            Target::AtMost(limit) => self.value <= limit,
            Target::AtLeast(limit) => self.value >= limit,
            Target::Exactly(value) => (self.value - value).abs() < f64::EPSILON,
            Target::Lower | Target::Higher => self.value.is_finite(),
        }
    }

    fn json(&self) -> Value {
        let (better, target) = match self.target {
            Target::AtMost(limit) | Target::Exactly(limit) => ("lower", Some(limit)),
            Target::AtLeast(limit) => ("higher", Some(limit)),
            Target::Lower => ("lower", None),
            Target::Higher => ("higher", None),
        };
        json!({
            "name": self.name, "value": self.value, "unit": self.unit,
            "better": better, "target": target, "holds": self.holds(),
        })
    }
}

/// Four digits that mean something.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        small if small < 10.0 => 3,
        middle if middle < 100.0 => 2,
        large if large < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_only_within_its_target() {
        for (value, target, holds) in [
            (1.5, Target::AtMost(1.5), true),
            (1.6, Target::AtMost(1.5), false),
            (8.0, Target::AtLeast(8.0), true),
            (7.9, Target::AtLeast(8.0), false),
            (1.0, Target::Exactly(1.0), true),
            (0.998, Target::Exactly(1.0), false),
            (1.002, Target::Exactly(1.0), false),
            (f64::NAN, Target::Exactly(1.0), false),
            (f64::NAN, Target::AtMost(1.0), false),
            (f64::NAN, Target::Lower, false),
            (3.0, Target::Higher, true),
        ] {
            let mut report = Report::new(None);
            report.add("a.row", value, "x", target);
            assert_eq!(report.holds(), holds, "{value} {target:?}");
        }
    }

    #[test]
    fn only_the_rows_that_begin_so_are_measured_and_kept() {
        let mut report = Report::new(Some("gate.admit".to_owned()));
        assert!(report.wants("gate.") && report.wants("gate.admit_cpu"));
        assert!(!report.wants("machine.") && !report.wants("gate.tick"));
        report.add("gate.tick", 1.0, "µs", Target::Lower);
        assert!(report.is_empty());
        report.add("gate.admit_cpu", 1.0, "x", Target::Lower);
        assert!(!report.is_empty());
    }

    #[test]
    fn a_row_is_written_with_all_its_fields() {
        let row = Figure {
            name: "gate.tick".to_owned(),
            value: 0.5,
            unit: "µs",
            target: Target::AtMost(1.0),
        };
        let expected = json!({
            "name": "gate.tick", "value": 0.5, "unit": "µs",
            "better": "lower", "target": 1.0, "holds": true,
        });
        assert_eq!(row.json(), expected);
    }
}
