//! Rows as tables: for a terminal, and for the docs.

use crate::bench::{Budget, Row};

const HEADS: [&str; 10] = [
    "Figure",
    "Unit",
    "p50",
    "p99",
    "Max",
    "Min",
    "n",
    "Floor",
    "p50 / floor",
    "Budget",
];

/// Columns in line.
pub(crate) fn plain(rows: &[Row]) -> String {
    let lines: Vec<[String; 10]> = [HEADS.map(str::to_owned)]
        .into_iter()
        .chain(rows.iter().map(cells))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let shown = lines.iter().map(|line| {
        let cells = line.iter().enumerate();
        let padded: Vec<String> = cells
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
            .collect();

        padded.join("  ").trim_end().to_owned() + "\n"
    });

    shown.collect()
}

/// The same as Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let head = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
    let lines = rows.iter().map(|row| {
        let [name, rest @ ..] = cells(row);
        format!("| `{name}` | {} |\n", rest.join(" | "))
    });

    [head].into_iter().chain(lines).collect()
}

fn cells(row: &Row) -> [String; 10] {
    let figure = &row.figure;
    let held = match row.budget {
        None => "-".to_owned(),
        Some(budget) if budget.is_held_by(figure) => format!("{}: held", told(budget)),
        Some(budget) => format!("{}: MISSED", told(budget)),
    };

    [
        row.name.clone(),
        figure.unit.clone(),
        figure.p50.to_string(),
        figure.p99.to_string(),
        figure.max.to_string(),
        figure.min.to_string(),
        figure.n.to_string(),
        figure.floor.to_string(),
        figure.ratio.to_string(),
        held,
    ]
}

fn told(budget: Budget) -> String {
    match budget {
        Budget::Within { p50, p99: None } => format!("p50 ≤ {p50}"),
        Budget::Within { p50, p99: Some(p99) } => format!("p50 ≤ {p50}, p99 ≤ {p99}"),
        Budget::AtMostOfFloor(most) => format!("≤ {most} × floor"),
        Budget::AtLeastOfFloor(least) => format!("≥ {least} × floor"),
    }
}

#[cfg(test)]
mod tests {
    use crate::figure::Figure;

    use super::*;

    #[test]
    fn a_missed_budget_is_said_in_the_row() {
        let row = |p99| Row {
            name: "death_ms".to_owned(),
            figure: Figure::of(&[400.0, 900.0], "ms", 300.0).unwrap(),
            budget: Some(Budget::Within {
                p50: 500.0,
                p99: Some(p99),
            }),
        };

        assert!(markdown(&[row(900.0)]).ends_with("p50 ≤ 500, p99 ≤ 900: held |\n"));
        assert!(markdown(&[row(899.0)]).ends_with("p50 ≤ 500, p99 ≤ 899: MISSED |\n"));
    }

    #[test]
    fn a_budget_may_be_a_part_of_the_floor_or_a_multiple_of_it() {
        let row = |budget| Row {
            name: "polls_per_s".to_owned(),
            figure: Figure::of(&[500.0], "/s", 1_000.0).unwrap(),
            budget: Some(budget),
        };
        let shown = |budget| markdown(&[row(budget)]);

        assert!(shown(Budget::AtLeastOfFloor(0.5)).ends_with("≥ 0.5 × floor: held |\n"));
        assert!(shown(Budget::AtLeastOfFloor(0.51)).ends_with("≥ 0.51 × floor: MISSED |\n"));
        assert!(shown(Budget::AtMostOfFloor(0.5)).ends_with("≤ 0.5 × floor: held |\n"));
        assert!(shown(Budget::AtMostOfFloor(0.49)).ends_with("≤ 0.49 × floor: MISSED |\n"));
    }

    #[test]
    fn a_terminal_gets_columns_in_line() {
        let row = |name: &str| Row {
            name: name.to_owned(),
            figure: Figure::of(&[1.0], "ms", 1.0).unwrap(),
            budget: None,
        };
        let shown = plain(&[row("a"), row("a_longer_name")]);
        let places: Vec<Option<usize>> = shown.lines().map(|line| line.find(" ms ")).collect();

        assert_eq!(places[1], places[2], "{shown}");
    }
}
