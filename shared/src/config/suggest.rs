//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate with the fewest typing errors, if few enough; letter case counts as no error.
pub fn nearest<'names>(name: &str, candidates: impl Iterator<Item = &'names str>) -> Option<&'names str> {
    let name: Vec<char> = name.chars().take(64).flat_map(char::to_lowercase).collect();
    // One error in four letters still reads as the same word; more would suggest unrelated options.
    let most = (name.len() / 4).max(1);
    candidates
        .map(|candidate| (errors(&name, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(errors, _)| *errors <= most)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: letters inserted, removed, replaced, or swapped with their neighbour.
fn errors(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["maximum dimensions", "ports", "ips", "apps"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("maximum dimension"), Some("maximum dimensions"));
        assert_eq!(near("Maximum_Dimensions"), Some("maximum dimensions"));
        assert_eq!(near("prots"), Some("ports"));
        assert_eq!(near("App"), Some("apps"));
        assert_eq!(near("x"), None);
        assert_eq!(near("bandwidth"), None);
        assert_eq!(near(&"p".repeat(100_000)), None);
    }
}
