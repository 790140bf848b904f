//! The key of a backup does not get into a text by mistake, but by its name.

use subrosa::RecoveryKey;

fn show(key: &RecoveryKey) -> String {
    #[cfg(test)]
    return format!("write this down: {}", key.to_text());
    #[cfg(not(test))]
    return format!("write this down: {key}");
}

fn main() {}
