//! x
use super::line::Line;
use anyhow::Result;
/// x
pub fn run(_kernel: &str, _count: usize) -> Result<Vec<Line>> {
    Ok(Vec::new())
}
