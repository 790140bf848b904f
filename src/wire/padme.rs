//! How lengths are hidden: those of long messages, and of attachments.

/// Padmé (Nikitin et al., Reducing Metadata Leakage from Encrypted Files, 2019): the length keeps about as many
/// significant bits as the exponent has, so O(log log size) bits of it show, for at most 12 % more.
pub(crate) fn padme(size: u64) -> u64 {
    let Some(exponent) = size.checked_ilog2().filter(|exponent| *exponent > 0) else { return size };
    let kept = exponent.ilog2() + 1;
    let step = 1_u64 << (exponent - kept.min(exponent));
    size.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padme_as_published() {
        // The example of the paper's section 4, and what follows from its definition.
        for (size, padded) in
            [(0, 0), (1, 1), (8, 8), (9, 10), (10, 10), (11, 12), (99, 104), (1_000_001, 1_015_808)]
        {
            assert_eq!(padme(size), padded, "{size}");
        }
        for power in 0..=47 {
            assert_eq!(padme(1 << power), 1 << power);
        }
    }
}
