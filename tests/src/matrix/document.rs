//! x
use super::line::Line;
/// x
pub fn render(_lines: &[Line]) -> String {
    String::new()
}
